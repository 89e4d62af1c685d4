package inject

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Labels and annotations by which injection is asked for; see Istio's "Resource Labels" and "Resource Annotations".
const (
	InjectLabel      = "sidecar.istio.io/inject" // also an annotation, which the label goes before
	NamespaceLabel   = "istio-injection"
	RevisionLabel    = "istio.io/rev"
	StatusAnnotation = "sidecar.istio.io/status"
)

// Reason says in a word why a Pod was left alone, "" if it was not. They are few: metrics have them for a label.
type Reason string

// Why a Pod is left alone.
const (
	NotAsked        Reason = "not-asked"        // neither its namespace nor itself asks for weft
	OptedOut        Reason = "opted-out"        // sidecar.istio.io/inject: "false"
	SystemNamespace Reason = "system-namespace" // it runs in kube-system, say
	HostNetwork     Reason = "host-network"     // turning its traffic would turn the node's
	Windows         Reason = "windows"          // there is no proxy for it
	Static          Reason = "static"           // a kubelet runs it, whatever the API server makes of what it shows
	Already         Reason = "already"          // it has its sidecar
)

// decision is whether a Pod gets a sidecar. A warning is for whoever made the Pod.
type decision struct {
	reason  Reason
	warning string
}

// decide says whether a Pod gets a sidecar, as Istio's injector and its webhooks' selectors do together. The error is a value that nobody knows.
func decide(pod *corev1.Pod, ns Namespace, c Config) (decision, error) {
	if slices.Contains(c.Excluded(), ns.Name) {
		return decision{reason: SystemNamespace}, nil
	}
	wanted, own, err := asked(pod, ns, c)
	switch {
	case err != nil:
		return decision{}, err
	case own == "false":
		return decision{reason: OptedOut}, nil
	case !wanted:
		return decision{reason: NotAsked}, nil
	case pod.Annotations[corev1.MirrorPodAnnotationKey] != "":
		return decision{Static, "annotation " + corev1.MirrorPodAnnotationKey + ": no sidecar is injected into a static Pod"}, nil
	case pod.Spec.HostNetwork:
		return decision{HostNetwork, "spec.hostNetwork: no sidecar is injected, because the Pod's traffic cannot be told from its node's; what the mesh's policies say is not enforced for it"}, nil
	case pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows:
		return decision{Windows, "spec.os.name: no sidecar is injected, there is none for Windows"}, nil
	}
	return decision{}, nil
}

// asked tells whether the labels of the namespace and the Pod ask weft for a sidecar, and what the Pod itself says, "" for nothing.
func asked(pod *corev1.Pod, ns Namespace, c Config) (wanted bool, own string, err error) {
	own, labelled := pod.Labels[InjectLabel]
	where := "label"
	if !labelled {
		own, where = pod.Annotations[InjectLabel], "annotation"
	}
	if own != "" && own != "true" && own != "false" {
		return false, "", fmt.Errorf(`%s %s: %q is neither "true" nor "false"`, where, InjectLabel, own)
	}
	if injection, ok := ns.Labels[NamespaceLabel]; ok { // goes before a revision
		return injection == "enabled" && c.AnswersDefault, own, nil
	}
	if revision, ok := ns.Labels[RevisionLabel]; ok {
		return slices.Contains(c.Revisions(), revision), own, nil
	}
	if revision, ok := pod.Labels[RevisionLabel]; ok {
		return slices.Contains(c.Revisions(), revision), own, nil
	}
	return labelled && own == "true" && c.AnswersDefault, own, nil
}
