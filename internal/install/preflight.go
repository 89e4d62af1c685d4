package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ErrTaken is wrapped by errors of Apply that say that somebody else has what is needed. Nothing was changed.
var ErrTaken = errors.New("in use by somebody else")

// preflight looks whether anything stands in the way, before anything is changed.
func (i *Installer) preflight(ctx context.Context, o Options, objects []Object) error {
	if o.has(Node) {
		if err := i.kubeProxy(ctx); err != nil {
			return err
		}
	}
	if o.has(DNS) {
		if err := i.dnsAddress(ctx, o); err != nil {
			return err
		}
	}
	for _, obj := range objects {
		if obj.GetObjectKind().GroupVersionKind().Kind == "Namespace" || yields(obj) || obj.GetName() == dnsServiceName && o.ReplaceDNS {
			continue
		}
		u, err := i.live(ctx, obj)
		if err != nil {
			return err
		}
		if u == nil || ours(u) {
			continue
		}
		advice := "rename or remove it"
		if obj.GetName() == dnsServiceName {
			advice = "give --replace-dns to take it over"
		}
		return fmt.Errorf("%s: %w: it has no label %s=%s; %s", describe(obj), ErrTaken, PartOfLabel, partOf, advice)
	}
	return nil
}

// kubeProxy makes sure that there is no other Service proxy of the usual name: it has the same ports on every node.
func (i *Installer) kubeProxy(ctx context.Context) error {
	ds, err := i.client.AppsV1().DaemonSets(metav1.NamespaceSystem).Get(ctx, "kube-proxy", metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) { // who may not look may go on: the node says so itself
		return nil
	}
	if err != nil {
		return fmt.Errorf("read DaemonSet kube-system/kube-proxy: %w", err)
	}
	if ds.Status.DesiredNumberScheduled == 0 {
		return nil
	}
	return fmt.Errorf("ports %d and %d of nodes: %w: kube-proxy runs on %d nodes; take it away first (kubectl -n kube-system delete daemonset kube-proxy)",
		nodeHealthPort, nodeAdminPort, ErrTaken, ds.Status.DesiredNumberScheduled)
}

// dnsAddress makes sure that the Service of cluster DNS can have its addresses.
func (i *Installer) dnsAddress(ctx context.Context, o Options) error {
	list, err := i.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	for n := range list.Items {
		s := &list.Items[n]
		if s.Namespace == DNSNamespace && s.Name == dnsServiceName {
			if s.Spec.ClusterIP != o.ClusterDNS[0] {
				return fmt.Errorf("--cluster-dns: Service %s/%s has the address %s, which cannot be changed to %s; give that one, or remove the Service",
					s.Namespace, s.Name, s.Spec.ClusterIP, o.ClusterDNS[0])
			}
			continue
		}
		if ip := firstCommon(s.Spec.ClusterIPs, o.ClusterDNS); ip != "" {
			return fmt.Errorf("--cluster-dns: %s: %w: Service %s/%s has it", ip, ErrTaken, s.Namespace, s.Name)
		}
	}
	return nil
}

func firstCommon(a, b []string) string {
	if i := slices.IndexFunc(a, func(s string) bool { return slices.Contains(b, s) }); i >= 0 {
		return a[i]
	}
	return ""
}

// trouble says why Pods of a component do not run, "" if nothing is known.
func (i *Installer) trouble(ctx context.Context, o Options, component string) string {
	pods, err := i.client.CoreV1().Pods(o.namespaceOf(component)).List(ctx, metav1.ListOptions{LabelSelector: PartOfSelector + "," + ComponentLabel + "=" + component})
	if err != nil {
		return ""
	}
	for n := range pods.Items {
		p := &pods.Items[n]
		if why := reason(p); why != "" {
			at := ""
			if p.Spec.NodeName != "" {
				at = " on Node " + p.Spec.NodeName
			}
			return fmt.Sprintf("Pod %s/%s%s: %s", p.Namespace, p.Name, at, why)
		}
	}
	return ""
}

// reason says why a Pod is not ready.
func reason(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		switch last := s.LastTerminationState.Terminated; {
		case s.State.Waiting != nil && last != nil:
			return strings.TrimSpace(fmt.Sprintf("%s, exit code %d %s", s.State.Waiting.Reason, last.ExitCode, last.Message))
		case s.State.Waiting != nil:
			return strings.TrimSpace(s.State.Waiting.Reason + " " + s.State.Waiting.Message)
		case s.State.Terminated != nil:
			return fmt.Sprintf("ended with exit code %d", s.State.Terminated.ExitCode)
		case !s.Ready:
			return "runs and is not ready"
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason + " " + c.Message
		}
	}
	return ""
}
