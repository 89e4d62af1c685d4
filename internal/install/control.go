package install

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/admission"
	"github.com/weftmesh/weft/internal/inject"
)

// controlDeployment runs the control plane: all replicas serve, one of them writes.
func controlDeployment(o Options) Object {
	d := deployment(o, Control, o.ControlReplicas)
	pod := &d.Spec.Template
	pod.ObjectMeta = podMeta(Control, controlAdminPort, nil)
	c := &pod.Spec.Containers[0]
	c.Args = o.args(Control, argument{"--weft-namespace", []string{o.Namespace}}, argument{"--cluster-domain", []string{o.ClusterDomain}}, argument{"--lb-pool", o.LBPools},
		argument{"--lb-reserved", append(append([]string{}, o.ServiceCIDRs...), o.ClusterCIDRs...)},
		argument{"--sidecar-image", []string{o.Image}}, argument{"--sidecar-image-pull-policy", []string{string(o.PullPolicy)}})
	c.Args = append(c.Args, proxyArgs(o)...)
	c.Ports = []corev1.ContainerPort{containerPort("metrics", controlAdminPort, corev1.ProtocolTCP), containerPort("https-xds", xdsPort, corev1.ProtocolTCP),
		containerPort("https-webhook", admission.Port, corev1.ProtocolTCP)}
	c.Resources = requests("20m", "64Mi")
	c.LivenessProbe = probe("/livez", controlAdminPort, 10)
	c.ReadinessProbe = probe("/readyz", controlAdminPort, 2)
	return d
}

// proxyArgs are what control is told of proxies: nothing of what it does anyway.
func proxyArgs(o Options) (out []string) {
	if o.OutboundPolicy != OutboundAllowAny {
		out = append(out, "--outbound-policy="+o.OutboundPolicy)
	}
	if o.AccessLog {
		out = append(out, "--access-log=true")
	}
	if o.TracingOTLP != "" {
		out = append(out, "--tracing-otlp="+o.TracingOTLP)
	}
	if o.TracingSampling != nil {
		out = append(out, "--tracing-sampling="+strconv.FormatFloat(*o.TracingSampling, 'f', -1, 64))
	}
	return out
}

// webhook is how the API server knows whom to ask about Pods that are to get a sidecar. Control adds the certificates that it is known by.
func webhook(o Options) Object {
	c := inject.Default()
	c.System = o.Namespace
	w := admission.Configuration(admission.Service{Namespace: o.Namespace, Name: objectName(Control)}, c.Excluded())
	w.Labels = labels(Control)
	return w
}

// budget lets nodes be drained one replica at a time.
func budget(o Options, component string) Object {
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: o.meta(component),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: selector(component)},
		},
	}
}
