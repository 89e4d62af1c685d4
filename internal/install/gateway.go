package install

import (
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/admission"
)

// IngressController is what an IngressClass names in spec.controller whose Ingresses weft's gateway carries.
const IngressController = "weftmesh.github.io/ingress"

// RootCertConfigMap is the ConfigMap, in weft's namespace, with the certificate that proxies know weft control by; RootCertKey is its key. Both are
// named as Istio's.
const (
	RootCertConfigMap = "istio-ca-root-cert"
	RootCertKey       = "root-cert.pem"
)

// XDSAudience is for whom the tokens are made that proxies show to weft control, as Istio's are.
const XDSAudience = "istio-ca"

// Ports of proxies and of the control plane, which are Istio's.
const (
	xdsPort            = 15012
	proxyMetricsPort   = 15020
	proxyReadinessPort = 15021
)

// Where a gateway finds what it needs.
const (
	gatewayTokenDir = "/var/run/secrets/tokens"
	gatewayTokenKey = "istio-token"
	gatewayRootDir  = "/var/run/secrets/istio"
	gatewayStateDir = "/var/lib/weft"
)

// gatewayLabels are those by which Gateways of Istio's users pick their proxies.
func gatewayLabels() map[string]string {
	return map[string]string{"app": "istio-ingressgateway", "istio": "ingressgateway"}
}

// gatewayDeployment runs the proxies at the edge.
func gatewayDeployment(o Options) Object {
	d := deployment(o, Gateway, o.GatewayReplicas)
	pod := &d.Spec.Template
	pod.ObjectMeta = podMeta(Gateway, proxyMetricsPort, gatewayLabels())
	pod.Annotations["prometheus.io/path"] = "/stats/prometheus"
	// Ports 80 and 443 without a capability: the Pod's own network allows them to everybody (a safe sysctl by the Kubernetes documentation).
	pod.Spec.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}}
	pod.Spec.SecurityContext.FSGroup = ptr(int64(user)) // reads the token
	pod.Spec.DNSPolicy = corev1.DNSClusterFirst         // it looks for weft control, and for what ExternalName Services name
	pod.Spec.AutomountServiceAccountToken = ptr(false)
	pod.Spec.TerminationGracePeriodSeconds = ptr(int64(60))
	c := &pod.Spec.Containers[0]
	c.Command = []string{"/weft-proxy"}
	// As a workload of the mesh: to Pods with sidecars it shows its own certificate.
	c.Args = []string{
		"agent", "--kind=router", "--ca=" + objectName(Control) + "." + o.Namespace + ".svc:" + strconv.Itoa(xdsPort),
		"--token-file=" + gatewayTokenDir + "/" + gatewayTokenKey, "--ca-file=" + gatewayRootDir + "/" + RootCertKey,
		"--state-dir=" + gatewayStateDir, "--sds-socket=", "--workload=" + objectName(Gateway), "--log-level=" + o.LogLevel,
	}
	c.Env = append(environment(), fromField("POD_NAMESPACE", "metadata.namespace"), fromField("POD_IP", "status.podIP"), fromField("SERVICE_ACCOUNT", "spec.serviceAccountName"))
	c.Ports = []corev1.ContainerPort{
		containerPort("http", 80, corev1.ProtocolTCP), containerPort("https", 443, corev1.ProtocolTCP),
		containerPort("metrics", proxyMetricsPort, corev1.ProtocolTCP), containerPort("status", proxyReadinessPort, corev1.ProtocolTCP),
	}
	c.VolumeMounts = []corev1.VolumeMount{
		{Name: "token", MountPath: gatewayTokenDir, ReadOnly: true}, {Name: "root", MountPath: gatewayRootDir, ReadOnly: true},
		// What control said last, and the certificate, keys among both: in memory, and gone with the Pod.
		{Name: "state", MountPath: gatewayStateDir},
	}
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: XDSAudience, ExpirationSeconds: ptr(int64(43200)), Path: gatewayTokenKey}},
		}}}},
		{Name: "root", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: RootCertConfigMap}}}},
		{Name: "state", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: ptr(resource.MustParse("64Mi"))}}},
	}
	c.Resources = requests("100m", "64Mi")
	c.LivenessProbe = nil // a proxy that cannot be asked may still carry: only its process's end ends it
	c.ReadinessProbe = probe("/healthz/ready", proxyReadinessPort, 2)
	return d
}

// gatewayService is how clients reach the gateway. Ports that Gateways ask for beside 80 and 443 are added to it by who runs the cluster.
func gatewayService(o Options) Object {
	l := labels(Gateway)
	maps.Copy(l, gatewayLabels())
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Name: objectName(Gateway), Namespace: o.Namespace, Labels: l},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Selector: selector(Gateway), IPFamilyPolicy: ptr(corev1.IPFamilyPolicyPreferDualStack),
			Ports: []corev1.ServicePort{
				servicePort("status-port", proxyReadinessPort, corev1.ProtocolTCP), servicePort("http", 80, corev1.ProtocolTCP), servicePort("https", 443, corev1.ProtocolTCP),
			},
		},
	}
}

// controlService is where proxies find the control plane.
func controlService(o Options) Object {
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: o.meta(Control),
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Selector: selector(Control), IPFamilyPolicy: ptr(corev1.IPFamilyPolicyPreferDualStack),
			Ports: []corev1.ServicePort{
				{Name: "https-xds", Port: xdsPort, TargetPort: intstr.FromInt(xdsPort), Protocol: corev1.ProtocolTCP},
				{Name: "https-webhook", Port: admission.ServicePort, TargetPort: intstr.FromInt(admission.Port), Protocol: corev1.ProtocolTCP},
			},
		},
	}
}

// ingressClasses are the classes whose Ingresses the gateway carries: weft's own, and the one that most Ingresses name, unless somebody has it.
func ingressClasses() (out []Object) {
	for _, name := range []string{partOf, "nginx"} {
		l := labels(Gateway)
		out = append(out, &networkingv1.IngressClass{
			TypeMeta: metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "IngressClass"}, ObjectMeta: metav1.ObjectMeta{Name: name, Labels: l},
			Spec: networkingv1.IngressClassSpec{Controller: IngressController},
		})
	}
	return out
}
