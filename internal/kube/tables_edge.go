package kube

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/weftmesh/weft/internal/store"
)

// edgeTables are the built-in kinds that the edge is declared in.
type edgeTables struct {
	Ingresses      *store.Table[networkingv1.Ingress]
	IngressClasses *store.Table[networkingv1.IngressClass]
	Secrets        *store.Table[corev1.Secret]
}

// edgeKinds are how they are filled. Secret leaves out, at an API server, the types that are never TLS material, and of a Secret everything but
// certificates and keys.
type edgeKinds struct{ Ingress, IngressClass, Secret *Kind }

func (t *Tables) addEdge(s *store.Store) {
	t.Ingresses = NewTable[networkingv1.Ingress](s, "Ingress")
	t.IngressClasses = NewTable[networkingv1.IngressClass](s, "IngressClass")
	t.Secrets = NewTable[corev1.Secret](s, "Secret")
	t.Kind.Ingress = NewKind(t.Ingresses, Spec[networkingv1.Ingress]{
		Resource: "ingresses", Versions: []schema.GroupVersion{networkingv1.SchemeGroupVersion}, Scheme: scheme.Scheme,
		InFolder: []schema.GroupVersion{networkingv1beta1.SchemeGroupVersion, extensionsv1beta1.SchemeGroupVersion}, Convert: convertIngress,
		Strip: func(i *networkingv1.Ingress) { i.Status = networkingv1.IngressStatus{} },
	})
	t.Kind.IngressClass = NewKind(t.IngressClasses, Spec[networkingv1.IngressClass]{
		Resource: "ingressclasses", Versions: []schema.GroupVersion{networkingv1.SchemeGroupVersion}, ClusterScoped: true, Scheme: scheme.Scheme,
		InFolder: []schema.GroupVersion{networkingv1beta1.SchemeGroupVersion}, Convert: convertIngressClass,
	})
	t.Kind.Secret = NewKind(t.Secrets, Spec[corev1.Secret]{
		Resource: "secrets", Versions: []schema.GroupVersion{corev1.SchemeGroupVersion}, Scheme: scheme.Scheme, Default: defaultSecret, Strip: stripSecret,
	}).Select(Selection{FieldSelector: otherSecrets})
}

// otherSecrets leaves out the types that hold no certificate of a server. An API server can filter by type, and not by the names of keys.
const otherSecrets = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=kubernetes.io/dockercfg," +
	"type!=kubernetes.io/dockerconfigjson,type!=kubernetes.io/basic-auth,type!=kubernetes.io/ssh-auth,type!=bootstrap.kubernetes.io/token"

// stripSecret keeps what TLS needs: the keys of the type kubernetes.io/tls, and those that Istio's credentialName knows.
func stripSecret(s *corev1.Secret) {
	for k := range s.Data {
		switch k {
		case "tls.crt", "tls.key", "ca.crt", "cert", "key", "cacert":
		default:
			delete(s.Data, k)
		}
	}
	for k, v := range s.StringData { // only a folder has it; it goes before data, as in an API server
		switch k {
		case "tls.crt", "tls.key", "ca.crt", "cert", "key", "cacert":
			if s.Data == nil {
				s.Data = map[string][]byte{}
			}
			s.Data[k] = []byte(v)
		}
	}
	s.StringData = nil
}

func defaultSecret(s *corev1.Secret) { setDefault(&s.Type, corev1.SecretTypeOpaque) }

// stripPod keeps what says who a Pod is and where it runs, and what its containers call their ports.
func stripPod(p *corev1.Pod) {
	var containers []corev1.Container
	for _, c := range p.Spec.Containers {
		named := slices.DeleteFunc(slices.Clone(c.Ports), func(p corev1.ContainerPort) bool { return p.Name == "" })
		if len(named) > 0 {
			containers = append(containers, corev1.Container{Name: c.Name, Ports: named})
		}
	}
	p.Spec = corev1.PodSpec{
		NodeName: p.Spec.NodeName, ServiceAccountName: p.Spec.ServiceAccountName, HostNetwork: p.Spec.HostNetwork,
		Hostname: p.Spec.Hostname, Subdomain: p.Spec.Subdomain, Containers: containers,
	}
	p.Status = corev1.PodStatus{Phase: p.Status.Phase, PodIP: p.Status.PodIP, PodIPs: p.Status.PodIPs}
}

// convertIngress makes a networking.k8s.io/v1 Ingress of one of the versions that went before. A path without a type was implementation specific.
func convertIngress(o runtime.Object) (*networkingv1.Ingress, error) {
	switch in := o.(type) {
	case *networkingv1beta1.Ingress:
		return ingressFromBeta(in), nil
	case *extensionsv1beta1.Ingress: // the same type under another group
		spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(in)
		if err != nil {
			return nil, err
		}
		var same networkingv1beta1.Ingress
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &same); err != nil {
			return nil, err
		}
		return ingressFromBeta(&same), nil
	}
	return nil, fmt.Errorf("%T is no Ingress", o)
}

func ingressFromBeta(in *networkingv1beta1.Ingress) *networkingv1.Ingress {
	out := &networkingv1.Ingress{ObjectMeta: in.ObjectMeta}
	out.Spec.IngressClassName = in.Spec.IngressClassName
	backend := func(b networkingv1beta1.IngressBackend) (out networkingv1.IngressBackend) {
		out.Resource = b.Resource
		if b.ServiceName == "" {
			return out
		}
		out.Service = &networkingv1.IngressServiceBackend{Name: b.ServiceName}
		if b.ServicePort.StrVal != "" {
			out.Service.Port.Name = b.ServicePort.StrVal
		} else {
			out.Service.Port.Number = b.ServicePort.IntVal
		}
		return out
	}
	if in.Spec.Backend != nil {
		b := backend(*in.Spec.Backend)
		out.Spec.DefaultBackend = &b
	}
	for _, t := range in.Spec.TLS {
		out.Spec.TLS = append(out.Spec.TLS, networkingv1.IngressTLS{Hosts: t.Hosts, SecretName: t.SecretName})
	}
	for _, r := range in.Spec.Rules {
		rule := networkingv1.IngressRule{Host: r.Host}
		if r.HTTP != nil {
			rule.HTTP = &networkingv1.HTTPIngressRuleValue{}
			for _, p := range r.HTTP.Paths {
				kind := networkingv1.PathTypeImplementationSpecific
				if p.PathType != nil {
					kind = networkingv1.PathType(*p.PathType)
				}
				rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{Path: p.Path, PathType: &kind, Backend: backend(p.Backend)})
			}
		}
		out.Spec.Rules = append(out.Spec.Rules, rule)
	}
	return out
}

func convertIngressClass(o runtime.Object) (*networkingv1.IngressClass, error) {
	in, ok := o.(*networkingv1beta1.IngressClass)
	if !ok {
		return nil, fmt.Errorf("%T is no IngressClass", o)
	}
	return &networkingv1.IngressClass{ObjectMeta: in.ObjectMeta, Spec: networkingv1.IngressClassSpec{Controller: in.Spec.Controller}}, nil
}
