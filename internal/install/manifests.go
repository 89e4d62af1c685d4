package install

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Labels that every object and every Pod of weft has. See the Kubernetes documentation, "Recommended Labels".
const (
	PartOfLabel    = "app.kubernetes.io/part-of"   // "weft"
	ComponentLabel = "app.kubernetes.io/component" // one of Components
	nameLabel      = "app.kubernetes.io/name"
	managedByLabel = "app.kubernetes.io/managed-by"
	partOf         = "weft"

	// PartOfSelector finds all of weft.
	PartOfSelector = PartOfLabel + "=" + partOf
)

// DNSNamespace is where cluster DNS runs.
const DNSNamespace = metav1.NamespaceSystem

// Namespaces are those that weft's Pods run in when it is installed in system.
func Namespaces(system string) []string {
	if system == DNSNamespace {
		return []string{system}
	}
	return []string{system, DNSNamespace}
}

// Ports.
const (
	nodeHealthPort   = 10256 // kube-proxy's, which load balancers of clouds ask
	nodeAdminPort    = 10249 // kube-proxy's for metrics
	dnsPort          = 53
	dnsHealthPort    = 8080  // CoreDNS's
	dnsReadyPort     = 8181  // CoreDNS's
	dnsAdminPort     = 9153  // CoreDNS's for metrics
	controlAdminPort = 15014 // Istio's for the control plane's own metrics
)

// AdminPorts are where components show their status, by component. It must not be changed.
var AdminPorts = map[string]int{Node: nodeAdminPort, DNS: dnsAdminPort, Control: controlAdminPort}

// Object is an object to apply, with its apiVersion and kind set.
type Object interface {
	runtime.Object
	metav1.Object
}

// Manifests gives the objects in the order in which they are to be applied. The objects are the caller's.
func Manifests(o Options) ([]Object, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.complete()
	objects := []Object{namespace(o)}
	for _, c := range Components() {
		if o.has(c) {
			objects = append(objects, component(o, c)...)
		}
	}
	return objects, nil
}

// component gives the objects of one component: its account, what it may do, and what runs it.
func component(o Options, c string) []Object {
	switch c {
	case Node:
		return append(permissions(o, c), nodeDaemonSet(o))
	case DNS:
		return append(permissions(o, c), dnsDeployment(o), budget(o, c), dnsService(o))
	case Gateway:
		return append(append(ingressClasses(), account(o, c)), gatewayDeployment(o), budget(o, c), gatewayService(o))
	default:
		return append(append(customResources(), permissions(o, c)...), controlDeployment(o), budget(o, c), controlService(o), webhook(o))
	}
}

// namespaceOf is where a component runs.
func (o Options) namespaceOf(component string) string {
	if component == DNS {
		return DNSNamespace
	}
	return o.Namespace
}

func namespace(o Options) Object {
	ns := &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: o.Namespace, Labels: map[string]string{PartOfLabel: partOf, managedByLabel: partOf}},
	}
	// The node's Pods use the host's network and a folder of the host, which only this level of the Pod Security Standards allows.
	for _, mode := range []string{"enforce", "audit", "warn"} {
		ns.Labels["pod-security.kubernetes.io/"+mode] = "privileged"
	}
	return ns
}

// objectName is the name of nearly all objects of a component.
func objectName(component string) string { return partOf + "-" + component }

// selector is what finds a component's Pods. It can never be changed once installed.
func selector(component string) map[string]string {
	return map[string]string{nameLabel: objectName(component), PartOfLabel: partOf}
}

func labels(component string) map[string]string {
	l := selector(component)
	l[ComponentLabel], l[managedByLabel] = component, partOf
	return l
}

func (o Options) meta(component string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: objectName(component), Namespace: o.namespaceOf(component), Labels: labels(component)}
}

// podMeta is the metadata of a component's Pods. port is where Prometheus finds metrics by the widely used annotations.
func podMeta(component string, port int, more map[string]string) metav1.ObjectMeta {
	l := labels(component)
	maps.Copy(l, more)
	return metav1.ObjectMeta{Labels: l, Annotations: scrape(port)}
}

// args are the arguments of a component; one whose values are all empty is left out.
func (o Options) args(component string, arguments ...argument) []string {
	out := []string{component}
	for _, f := range append([]argument{{"--log-level", []string{o.LogLevel}}, {"--api-server", o.APIServers}}, arguments...) {
		if v := strings.Join(f.values, ","); v != "" {
			out = append(out, f.name+"="+v)
		}
	}
	return out
}

type argument struct {
	name   string
	values []string
}

func environment(fields ...corev1.EnvVar) []corev1.EnvVar {
	return append([]corev1.EnvVar{fromField("NODE_NAME", "spec.nodeName"), fromField("POD_NAME", "metadata.name")}, fields...)
}

func fromField(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
}

func containerPort(name string, port int, protocol corev1.Protocol) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: int32(port), Protocol: protocol}
}

// probe asks a path every period; three refusals in a row count.
func probe(path string, port int, period int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt(port), Scheme: corev1.URISchemeHTTP}},
		PeriodSeconds: period, TimeoutSeconds: 5, FailureThreshold: 3, SuccessThreshold: 1,
	}
}

// requests reserve what a component needs in a small cluster. There are no limits: a Service proxy that is throttled or killed when the
// cluster is large takes the node with it.
func requests(cpu, memory string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}}
}

// confined is a container that can do nothing but what is added here.
func confined(capabilities ...corev1.Capability) *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr(false), ReadOnlyRootFilesystem: ptr(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: slices.Clip(capabilities)},
	}
}

// user is the identity of Pods that need no privilege ("nobody" of most images).
const user = 65532

func ptr[V any](v V) *V { return &v }
