package admission

import (
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/inject"
)

// Name is the MutatingWebhookConfiguration's.
const Name = "weft-sidecar-injector"

// Where the webhook is asked: Path about Pods that want weft by its name, DefaultPath about those that want whoever injects by default. The Service's
// port is ServicePort, the container's Port.
const (
	Path        = "/inject"
	DefaultPath = "/inject/default"
	Port        = 15017
	ServicePort = 443
)

// timeoutSeconds is how long the API server waits. An answer takes milliseconds, so this is for a replica that is gone, not for a busy one.
const timeoutSeconds = 10

// Service names the Service that leads to control.
type Service struct{ Namespace, Name string }

// Webhooks are the entries of the configuration: who is asked about. Without byDefault those are left out that concern the label istio-injection,
// the revision "default", and sidecar.istio.io/inject: "true" alone. roots are the certificates, in PEM, that the endpoint is known by.
func Webhooks(s Service, excluded []string, byDefault bool, roots []byte) []admissionv1.MutatingWebhook {
	const (
		injection, revision, own = inject.NamespaceLabel, inject.RevisionLabel, inject.InjectLabel
	)
	absent := func(key string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpDoesNotExist}
	}
	in := func(key string, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: values}
	}
	notIn := func(key string, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: values}
	}
	type requirements = []metav1.LabelSelectorRequirement
	hook := func(name, path string, namespace, object requirements) admissionv1.MutatingWebhook {
		namespace = append(namespace, notIn(corev1.LabelMetadataName, excluded...))
		return admissionv1.MutatingWebhook{
			Name: name + ".sidecar-injector.weftmesh.github.io",
			ClientConfig: admissionv1.WebhookClientConfig{
				Service:  &admissionv1.ServiceReference{Namespace: s.Namespace, Name: s.Name, Path: ptr(path), Port: ptr(int32(ServicePort))},
				CABundle: roots,
			},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Scope: ptr(admissionv1.NamespacedScope)},
			}},
			FailurePolicy: ptr(admissionv1.Fail), MatchPolicy: ptr(admissionv1.Equivalent), SideEffects: ptr(admissionv1.SideEffectClassNone),
			ReinvocationPolicy: ptr(admissionv1.IfNeededReinvocationPolicy), TimeoutSeconds: ptr(int32(timeoutSeconds)), AdmissionReviewVersions: []string{"v1"},
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: namespace}, ObjectSelector: &metav1.LabelSelector{MatchExpressions: object},
		}
	}
	willing := notIn(own, "false")
	out := []admissionv1.MutatingWebhook{
		hook("rev.namespace", Path, requirements{in(revision, inject.Revision), absent(injection)}, requirements{willing}),
		hook("rev.object", Path, requirements{absent(revision), absent(injection)}, requirements{willing, in(revision, inject.Revision)}),
	}
	if !byDefault {
		return out
	}
	return append(out,
		hook("default.rev.namespace", DefaultPath, requirements{in(revision, "default"), absent(injection)}, requirements{willing}),
		hook("default.rev.object", DefaultPath, requirements{absent(revision), absent(injection)}, requirements{willing, in(revision, "default")}),
		hook("namespace", DefaultPath, requirements{in(injection, "enabled")}, requirements{willing}),
		hook("object", DefaultPath, requirements{absent(injection), absent(revision)}, requirements{in(own, "true"), absent(revision)}),
	)
}

// Configuration is the whole object, as it is installed: control adds the certificates when it runs.
func Configuration(s Service, excluded []string) *admissionv1.MutatingWebhookConfiguration {
	return &admissionv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: Name}, Webhooks: Webhooks(s, excluded, true, nil),
	}
}

// answersDefault tells whether a configuration of somebody else asks about Pods of namespaces that are labelled istio-injection: enabled.
func answersDefault(c *admissionv1.MutatingWebhookConfiguration) bool {
	return slices.ContainsFunc(c.Webhooks, func(w admissionv1.MutatingWebhook) bool {
		return aboutPods(w.Rules) && wantsInjection(w.NamespaceSelector)
	})
}

func aboutPods(rules []admissionv1.RuleWithOperations) bool {
	return slices.ContainsFunc(rules, func(r admissionv1.RuleWithOperations) bool {
		return (slices.Contains(r.Resources, "pods") || slices.Contains(r.Resources, "*") || slices.Contains(r.Resources, "*/*")) &&
			(slices.Contains(r.Operations, admissionv1.Create) || slices.Contains(r.Operations, admissionv1.OperationAll))
	})
}

// wantsInjection tells whether a selector picks namespaces by that label, and not merely along with all others.
func wantsInjection(s *metav1.LabelSelector) bool {
	if s == nil {
		return false
	}
	if s.MatchLabels[inject.NamespaceLabel] == "enabled" {
		return true
	}
	return slices.ContainsFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Key == inject.NamespaceLabel && r.Operator == metav1.LabelSelectorOpIn && slices.Contains(r.Values, "enabled")
	})
}

func ptr[T any](v T) *T { return &v }
