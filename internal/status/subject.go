package status

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	networkingclient "k8s.io/client-go/kubernetes/typed/networking/v1"

	"github.com/weftmesh/weft/internal/model"
)

// subject is an object with load-balancer addresses in its status. Errors are the API server's own.
type subject interface {
	fmt.Stringer
	get(context.Context) (live, error)
	patch(context.Context, *metav1.ObjectMeta, []corev1.LoadBalancerIngress) error
}

// live is a subject as the API server has it.
type live struct {
	meta    *metav1.ObjectMeta
	entries []corev1.LoadBalancerIngress
	asks    bool // for addresses
}

var patchOptions = metav1.PatchOptions{FieldManager: FieldManager}

// serviceObject is a Service.
type serviceObject struct {
	client corev1client.ServicesGetter
	name   model.ServiceName
}

func (s serviceObject) String() string { return "Service " + s.name.String() }

func (s serviceObject) get(ctx context.Context) (live, error) {
	o, err := s.client.Services(s.name.Namespace).Get(ctx, s.name.Name, metav1.GetOptions{})
	if err != nil {
		return live{}, err
	}
	return live{&o.ObjectMeta, o.Status.LoadBalancer.Ingress, o.Spec.Type == corev1.ServiceTypeLoadBalancer}, nil
}

func (s serviceObject) patch(ctx context.Context, meta *metav1.ObjectMeta, next []corev1.LoadBalancerIngress) error {
	body, err := ingressPatch(meta, next)
	if err != nil {
		return err
	}
	_, err = s.client.Services(s.name.Namespace).Patch(ctx, s.name.Name, types.MergePatchType, body, patchOptions, "status")
	return err
}

// ingressObject is an Ingress. Its entries are those of a Service but for ipMode.
type ingressObject struct {
	client networkingclient.IngressesGetter
	name   model.ObjectName
}

func (s ingressObject) String() string { return "Ingress " + s.name.String() }

func (s ingressObject) get(ctx context.Context) (live, error) {
	o, err := s.client.Ingresses(s.name.Namespace).Get(ctx, s.name.Name, metav1.GetOptions{})
	if err != nil {
		return live{}, err
	}
	out := live{meta: &o.ObjectMeta, asks: true}
	for _, e := range o.Status.LoadBalancer.Ingress {
		entry := corev1.LoadBalancerIngress{IP: e.IP, Hostname: e.Hostname}
		for _, p := range e.Ports {
			entry.Ports = append(entry.Ports, corev1.PortStatus(p))
		}
		out.entries = append(out.entries, entry)
	}
	return out, nil
}

func (s ingressObject) patch(ctx context.Context, meta *metav1.ObjectMeta, next []corev1.LoadBalancerIngress) error {
	next = slices.Clone(next)
	for i := range next {
		next[i].IPMode = nil
	}
	body, err := ingressPatch(meta, next)
	if err != nil {
		return err
	}
	_, err = s.client.Ingresses(s.name.Namespace).Patch(ctx, s.name.Name, types.MergePatchType, body, patchOptions, "status")
	return err
}
