package install

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/admission"
)

// LeaseName is the Lease that the writing replica of weft control holds, in the namespace of weft.
const LeaseName = "weft-control"

// clusterRules are what a component may do in the whole cluster. Control alone reads Secrets, for the certificates of gateways and the mesh's
// authority, tells namespaces of the mesh's roots, and asks whose a proxy's token is; it writes the status of Services and Ingresses, and it and nodes tell Events.
func clusterRules(component string) []rbacv1.PolicyRule {
	core := func(resources ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: resources, Verbs: []string{"get", "list", "watch"}}
	}
	slices := rbacv1.PolicyRule{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"get", "list", "watch"}}
	events := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "get", "patch"}}
	switch component {
	case Node:
		return []rbacv1.PolicyRule{core("services", "nodes"), slices, events}
	case DNS:
		return []rbacv1.PolicyRule{core("services", "namespaces"), slices}
	default:
		return []rbacv1.PolicyRule{
			core("services", "nodes", "pods", "secrets", "namespaces"), slices,
			{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses", "ingressclasses"}, Verbs: []string{"get", "list", "watch"}},
			{
				APIGroups: []string{"networking.istio.io"}, Verbs: []string{"get", "list", "watch"},
				Resources: []string{"gateways", "virtualservices", "destinationrules", "serviceentries", "workloadentries"},
			},
			{
				APIGroups: []string{"security.istio.io"}, Verbs: []string{"get", "list", "watch"},
				Resources: []string{"peerauthentications", "authorizationpolicies", "requestauthentications"},
			},
			// The roots of the mesh, in every namespace. Creating cannot be limited to a name.
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create"}},
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{RootCertConfigMap}, Verbs: []string{"get", "list", "watch", "update"}},
			// Who else injects sidecars, and its own part in it.
			{APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations"}, Verbs: []string{"list", "watch"}},
			{APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations"}, ResourceNames: []string{admission.Name}, Verbs: []string{"patch"}},
			{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
			{APIGroups: []string{""}, Resources: []string{"services/status"}, Verbs: []string{"patch"}},
			{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses/status"}, Verbs: []string{"patch"}},
			events,
		}
	}
}

// ownRules are what a component may do in weft's namespace.
func ownRules(component string) []rbacv1.PolicyRule {
	if component != Control {
		return nil
	}
	leases := []string{"leases"}
	return []rbacv1.PolicyRule{
		// Creating cannot be limited to a name: the object has none when the request is judged.
		{APIGroups: []string{"coordination.k8s.io"}, Resources: leases, Verbs: []string{"create"}},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: leases, ResourceNames: []string{LeaseName}, Verbs: []string{"get", "update", "patch"}},
		// The certificate authority that replicas share.
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
	}
}

// account is what a component's Pods are known by.
func account(o Options, component string) Object {
	return &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: o.meta(component)}
}

// permissions are a component's account and roles.
func permissions(o Options, component string) []Object {
	meta := o.meta(component)
	cluster := metav1.ObjectMeta{Name: meta.Name, Labels: meta.Labels}
	subject := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: meta.Name, Namespace: meta.Namespace}}
	rbac := func(kind string) metav1.TypeMeta {
		return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
	}
	ref := func(kind string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: meta.Name}
	}
	out := []Object{
		account(o, component),
		&rbacv1.ClusterRole{TypeMeta: rbac("ClusterRole"), ObjectMeta: cluster, Rules: clusterRules(component)},
		&rbacv1.ClusterRoleBinding{TypeMeta: rbac("ClusterRoleBinding"), ObjectMeta: cluster, RoleRef: ref("ClusterRole"), Subjects: subject},
	}
	if rules := ownRules(component); rules != nil {
		own := meta
		own.Namespace = o.Namespace
		out = append(out,
			&rbacv1.Role{TypeMeta: rbac("Role"), ObjectMeta: own, Rules: rules},
			&rbacv1.RoleBinding{TypeMeta: rbac("RoleBinding"), ObjectMeta: own, RoleRef: ref("Role"), Subjects: subject},
		)
	}
	return out
}
