package control

import (
	"context"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/model"
)

const (
	catchUpLimit = 30 * time.Second
	catchUpPause = 250 * time.Millisecond
	pageSize     = 500
)

// catchUp waits until the model has every address that the one who wrote before has published; what is given out before that might be given twice.
// It tells whether ctx has not ended.
func (c *Control) catchUp(ctx context.Context) bool {
	began := time.Now()
	for {
		behind, err := c.behind(ctx)
		switch {
		case ctx.Err() != nil:
			return false
		case err != nil:
			c.log.Debug("cannot list Services, trying again", "error", err)
		case behind == "":
			return true
		case time.Since(began) > catchUpLimit: // it may never: another source may hide the object
			c.log.Warn("the model does not follow a Service's status; going on without", "service", behind)
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(catchUpPause):
		}
	}
}

// behind names a Service whose published addresses are not those of the model; empty if there is none.
func (c *Control) behind(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	o := metav1.ListOptions{Limit: pageSize, FieldSelector: "spec.type=" + string(corev1.ServiceTypeLoadBalancer)}
	for {
		page, err := c.o.Client.CoreV1().Services(metav1.NamespaceAll).List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			if s := &page.Items[i]; !c.knows(s) {
				return s.Namespace + "/" + s.Name, nil
			}
		}
		if o.Continue = page.Continue; o.Continue == "" {
			return "", nil
		}
	}
}

func (c *Control) knows(s *corev1.Service) bool {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return true
	}
	var live []netip.Addr
	for _, in := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil && c.inPool(a.Unmap()) && (in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP) {
			live = append(live, a.Unmap())
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.published[model.ServiceName{Namespace: s.Namespace, Name: s.Name}]
	return !slices.ContainsFunc(live, func(a netip.Addr) bool { return !slices.Contains(known, a) })
}
