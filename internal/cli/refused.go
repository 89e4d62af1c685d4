package cli

import (
	"context"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/explain"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/serviceproxy"
	"github.com/weftmesh/weft/internal/status"
)

// refusals are what the kernel of this node would not take, as findings on the Services that asked for it. They are told as Events too: what
// only one node knows, nobody else can tell.
type refusals struct {
	node   string
	events *status.Events // nil: there is no API server

	mu sync.Mutex
	by map[finding.Object][]finding.Finding
}

func newRefusals(w *world, node string, registry *prometheus.Registry) (*refusals, error) {
	r := &refusals{node: node}
	if w.config == nil {
		return r, nil
	}
	client, err := kubernetes.NewForConfig(w.config)
	if err != nil {
		return nil, err
	}
	r.events, err = status.NewEvents(status.EventsOptions{Client: client, Instance: instance(), Log: w.log, Registerer: registry})
	return r, err
}

func (r *refusals) run(ctx context.Context) {
	if r.events != nil {
		r.events.Run(ctx)
	}
}

// set takes everything that is refused now.
func (r *refusals) set(list []serviceproxy.Refused) {
	by := map[finding.Object][]finding.Finding{}
	for _, x := range list {
		o := x.Frontend.Origin
		by[o.Object] = append(by[o.Object], finding.Finding{Object: o.Object, Field: o.Field, Severity: finding.Error, Code: "kernel-refused",
			Message: fmt.Sprintf("%v is not carried on node %s: %v", explain.Place(x.Frontend.Addr, x.Frontend.Protocol, x.Frontend.Key.Port), r.node, x.Err)})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events != nil {
		for o := range r.by {
			if by[o] == nil {
				r.events.Set(o, nil)
			}
		}
		for o, findings := range by {
			r.events.Set(o, findings)
		}
	}
	r.by = by
}

func (r *refusals) findings() (out []finding.Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range r.by {
		out = append(out, list...)
	}
	return out
}
