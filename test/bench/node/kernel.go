package main

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/test/bench/netspace"
)

// The events of the first table. A single change is made many times over, and divided, so that its processor time can be told.
const (
	eventWhole    = "all programmed"
	eventOne      = "one changed"
	eventAdd      = "one added"
	onesOfWeft    = 200
	onesOfNft     = 5
	carrierKernel = "weft, plan to kernel"
	carrierStore  = "weft, commit to kernel"
	carrierNft    = "nft -f, known shape"
)

func eventMany(n int) string { return fmt.Sprintf("%d changed at once", n) }

// kernelRound does every event once with each carrier.
func (b *bench) kernelRound(ctx context.Context, t *table) error {
	for _, carrier := range []func(context.Context, *table) error{b.planToKernel, b.commitToKernel, b.nftToKernel} {
		runtime.GC() // so that nobody pays for what another left
		if err := carrier(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// repeat does something n times, undoes it each time if it has to be, and gives the mean cost of the doing.
func repeat(n int, do func(k int) (cost, error), undo func() error) (cost, error) {
	var sum cost
	for k := range n {
		c, err := do(k)
		if err == nil && undo != nil {
			err = undo()
		}
		if err != nil {
			return sum, err
		}
		sum = sum.plus(c)
	}
	return sum.per(n), nil
}

// stride spreads n Services over all of them.
func (b *bench) stride(n int) (out []int) {
	for k := range n {
		out = append(out, k*b.services/n)
	}
	return out
}

func (b *bench) planToKernel(ctx context.Context, t *table) error {
	s, err := netspace.New()
	if err != nil {
		return err
	}
	defer s.Close()
	backend, err := newBackend(s)
	if err != nil {
		return err
	}
	defer backend.Close()
	of := func(i int, change bool) *plan.Frontend { // what the compiler makes of it
		name := model.ServiceName{Namespace: namespace, Name: serviceName(i)}
		f := &plan.Frontend{Key: plan.Key{Addr: clusterIP(i), Family: plan.IPv4, Protocol: model.TCP, Port: servicePort}, Service: name, PortName: "http"}
		eps := original(i)
		if change {
			eps = changed(i)
		}
		for _, a := range eps {
			f.Endpoints = append(f.Endpoints, netip.AddrPortFrom(a, endpointPort))
		}
		return f
	}
	all := make([]*plan.Frontend, b.services)
	for i := range all {
		all[i] = of(i, false)
	}
	c, err := measure(func() error { return outcome(backend.Restore(ctx, all)) })
	if err != nil {
		return err
	}
	t.add(eventWhole, carrierKernel, c)

	diffs := func(services []int) (out [2]plan.Diff) {
		for _, i := range services {
			out[0].Set = append(out[0].Set, of(i, true))
			out[1].Set = append(out[1].Set, all[i])
		}
		return out
	}
	one, many := diffs(b.stride(1)), diffs(b.stride(b.changes))
	if c, err = measure(func() error {
		for k := range onesOfWeft {
			if err := outcome(backend.Apply(ctx, &one[k%2])); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	t.add(eventOne, carrierKernel, c.per(onesOfWeft))
	add, remove := plan.Diff{Set: []*plan.Frontend{of(b.added(), false)}}, plan.Diff{Delete: []plan.Key{of(b.added(), false).Key}}
	if c, err = repeat(onesOfWeft, func(int) (cost, error) {
		return measure(func() error { return outcome(backend.Apply(ctx, &add)) })
	}, func() error { return outcome(backend.Apply(ctx, &remove)) }); err != nil {
		return err
	}
	t.add(eventAdd, carrierKernel, c)
	if c, err = measure(func() error { return outcome(backend.Apply(ctx, &many[0])) }); err != nil {
		return err
	}
	t.add(eventMany(b.changes), carrierKernel, c)
	return nil
}

func (b *bench) commitToKernel(ctx context.Context, t *table) error {
	p, err := newPipeline(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	put := func(change bool, services ...int) func(tx *store.Tx) {
		objects := make([]func(*store.Tx), len(services))
		for k, i := range services {
			eps := original(i)
			if change {
				eps = changed(i)
			}
			s := sliceObject(i, eps)
			objects[k] = func(tx *store.Tx) { p.tables.EndpointSlices.Put(tx, s) }
		}
		return func(tx *store.Tx) {
			for _, put := range objects {
				put(tx)
			}
		}
	}
	every := b.stride(b.services)
	objects, slices := make([]*corev1.Service, b.services), put(false, every...)
	for i := range objects {
		objects[i] = serviceObject(i)
	}
	c, err := measure(func() error {
		return p.commit(ctx, func(tx *store.Tx) {
			for _, s := range objects {
				p.tables.Services.Put(tx, s)
			}
			slices(tx)
		})
	})
	if err != nil {
		return err
	}
	t.add(eventWhole, carrierStore, c)
	if c, err = measure(func() error {
		for k := range onesOfWeft {
			if err := p.commit(ctx, put(k%2 == 0, every[0])); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	t.add(eventOne, carrierStore, c.per(onesOfWeft))
	added, addedSlice := serviceObject(b.added()), put(false, b.added())
	if c, err = repeat(onesOfWeft, func(int) (cost, error) {
		return measure(func() error {
			return p.commit(ctx, func(tx *store.Tx) { p.tables.Services.Put(tx, added); addedSlice(tx) })
		})
	}, func() error {
		k := store.Key{Namespace: namespace, Name: serviceName(b.added())}
		return p.commit(ctx, func(tx *store.Tx) { p.tables.Services.Delete(tx, k); p.tables.EndpointSlices.Delete(tx, k) })
	}); err != nil {
		return err
	}
	t.add(eventAdd, carrierStore, c)
	many := put(true, b.stride(b.changes)...)
	if c, err = measure(func() error { return p.commit(ctx, many) }); err != nil {
		return err
	}
	t.add(eventMany(b.changes), carrierStore, c)
	return nil
}

func (b *bench) nftToKernel(_ context.Context, t *table) error {
	p, err := newPeerNft()
	if err != nil {
		return err
	}
	defer p.close()
	text := whole(b.services)
	c, err := p.run(text)
	if err != nil {
		return err
	}
	t.add(eventWhole, carrierNft, c)
	if c, err = repeat(onesOfNft, func(k int) (cost, error) { return p.run(replace(0, k%2 == 1)) }, nil); err != nil {
		return err
	}
	t.add(eventOne, carrierNft, c)
	if c, err = repeat(onesOfNft, func(int) (cost, error) { return p.run(add(b.added())) }, func() error {
		_, err := p.run(remove(b.added()))
		return err
	}); err != nil {
		return err
	}
	t.add(eventAdd, carrierNft, c)
	text = ""
	for _, i := range b.stride(b.changes) {
		if i != 0 { // which is changed already
			text += replace(i, false)
		}
	}
	if c, err = p.run(text); err != nil {
		return err
	}
	t.add(eventMany(b.changes), carrierNft, c)
	t.remember(carrierNft, 0, p.peak)
	return nil
}
