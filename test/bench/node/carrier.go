package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy"
	"github.com/weftmesh/weft/internal/serviceproxy/nftables"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/test/bench/netspace"
)

const node = "node-1"

// newBackend opens weft's nftables backend on a namespace.
func newBackend(s *netspace.Space) (*nftables.Backend, error) {
	return nftables.New(plan.Config{
		ClusterCIDRs: []netip.Prefix{podCIDR}, VirtualRanges: []netip.Prefix{serviceCIDR}, MasqueradeMark: 1 << 14,
	}, nftables.Options{NetNS: s.FD()})
}

// pipeline is weft from a commit in the store to the kernel, as `weft node` wires it, without the API server before it.
type pipeline struct {
	store   *store.Store
	source  *store.Source
	tables  *kube.Tables
	proxy   *serviceproxy.Proxy
	backend *announced
	space   *netspace.Space
	plans   *derive.Family[store.Key, *plan.Service]
	stop    context.CancelFunc
	ended   chan struct{}
}

// announced is a backend that tells when it has done something.
type announced struct {
	plan.Backend
	done chan error
}

func (a *announced) Restore(ctx context.Context, all []*plan.Frontend) (plan.Result, error) {
	r, err := a.Backend.Restore(ctx, all)
	a.done <- outcome(r, err)
	return r, err
}

func (a *announced) Apply(ctx context.Context, diff *plan.Diff) (plan.Result, error) {
	r, err := a.Backend.Apply(ctx, diff)
	a.done <- outcome(r, err)
	return r, err
}

func outcome(r plan.Result, err error) error {
	if err == nil && len(r.Refused) > 0 {
		err = fmt.Errorf("%d frontends refused, the first because %w", len(r.Refused), r.Refused[0].Err)
	}
	return err
}

func newPipeline(ctx context.Context) (*pipeline, error) {
	s, err := netspace.New()
	if err != nil {
		return nil, err
	}
	backend, err := newBackend(s)
	if err != nil {
		return nil, err
	}
	p := &pipeline{store: store.New(nil), space: s, backend: &announced{backend, make(chan error, 16)}, ended: make(chan struct{})}
	p.source, p.tables = p.store.Source("bench"), kube.NewTables(p.store)
	objects := service.Objects{Services: p.tables.Services, Slices: p.tables.EndpointSlices, SlicesByService: p.tables.SlicesByService, Nodes: p.tables.Nodes}
	db := p.store.DB()
	p.plans = serviceproxy.Plans(db, compose.Define(db, objects, service.Define(db, objects)), node)
	if p.proxy, err = serviceproxy.New(serviceproxy.Options{Backend: p.backend, Log: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, err
	}
	ctx, p.stop = context.WithCancel(ctx)
	feed := db.NewFeed()
	var changes []serviceproxy.Change
	p.plans.Follow(feed, func(d derive.Delta[store.Key, *plan.Service]) {
		changes = append(changes, serviceproxy.Change{Name: model.ServiceName(d.Key), Service: d.Value})
	})
	go func() {
		defer close(p.ended)
		ran := make(chan struct{})
		go func() { defer close(ran); _ = p.proxy.Run(ctx) }()
		defer func() { <-ran }()
		full := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-feed.Wake():
			}
			changes = changes[:0]
			_, rev := feed.Drain()
			p.proxy.Update(uint64(rev), changes)
			if !full && len(changes) > 0 { // the first commit is everything
				p.proxy.Full()
				full = true
			}
		}
	}()
	return p, nil
}

func (p *pipeline) close() {
	p.stop()
	<-p.ended
	_ = p.backend.Close()
	p.space.Close()
}

// commit changes objects and returns when the kernel carries the result.
func (p *pipeline) commit(ctx context.Context, change func(tx *store.Tx)) error {
	p.source.Commit(change)
	select {
	case err := <-p.backend.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
