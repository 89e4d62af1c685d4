package main

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// The events of the second table.
const (
	eventStart   = "started until programmed"
	eventAdded   = "one added until it answers"
	eventReplace = "one's endpoints replaced until it answers"
	// eventTimeout bounds each wait: kube-proxy has been seen to take most of a minute.
	eventTimeout = 5 * time.Minute
	probeEvery   = time.Millisecond
	// carrierWrite is the part of an event that the API server takes, whichever proxy waits for it.
	carrierWrite = "(of it, the write)"
)

func eventBurst(n int) string { return fmt.Sprintf("%d replaced, until all answer", n) }

// clusterRound does every event once with each proxy, which is alone meanwhile.
func (b *bench) clusterRound(ctx context.Context, t *table, l *lab, all []*proxy, dir string) error {
	for _, p := range all {
		if err := b.clusterEvents(ctx, t, l, p, dir); err != nil {
			return p.failed(err)
		}
	}
	return nil
}

// first is the Service that always answers; added is one beyond the population.
func (b *bench) first() int { return 0 }
func (b *bench) added() int { return b.services }

func (b *bench) clusterEvents(ctx context.Context, t *table, l *lab, p *proxy, dir string) (err error) {
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, eventTimeout, fmt.Errorf("%s passed", eventTimeout))
	defer cancel()
	begin := time.Now()
	if err := p.start(); err != nil {
		return err
	}
	defer func() {
		if stopped := p.stop(); err == nil {
			err = stopped
		}
	}()
	if err := await(ctx, p.space, true, probeEvery, b.first()); err != nil {
		return err
	}
	wall := time.Since(begin)
	if err := p.idle(ctx); err != nil {
		return err
	}
	c := p.cpu()
	c.wall = wall
	log.Printf("%s: %s: %s", p.name, eventStart, short(c.wall))
	t.add(eventStart, p.name, c)

	var many []int
	for _, i := range b.stride(b.changes) {
		many = append(many, i+1) // not the one that always answers
	}
	set := func(services []int, endpoints func(i int) []netip.Addr) func(context.Context) error {
		return func(ctx context.Context) error {
			return together(ctx, services, func(ctx context.Context, i int) error { return l.set(ctx, i, endpoints(i)) })
		}
	}
	answering := func(int) []netip.Addr { return live }
	one := []int{b.services / 2}
	for _, e := range []event{
		{
			name: eventAdded, times: p.ones, services: []int{b.added()},
			write: func(ctx context.Context) error { return l.add(ctx, b.added(), live) },
			undo:  func(ctx context.Context) error { return l.remove(ctx, b.added()) },
		},
		{name: eventReplace, times: p.ones, services: one, write: set(one, answering), undo: set(one, original)},
		{name: eventBurst(b.changes), times: 1, services: many, write: set(many, answering), undo: set(many, original)},
	} {
		if err := e.observe(ctx, t, p); err != nil {
			return err
		}
	}
	now, most := p.memory()
	t.remember(p.name, now, most)
	return nil
}

// event is a change of the cluster that makes Services answer, and its undoing.
type event struct {
	name        string
	times       int // how often it is made; what it costs is the mean
	services    []int
	write, undo func(context.Context) error
}

// observe times an event from before the write until p shows it, and charges p with what it spends until it rests again.
func (e event) observe(ctx context.Context, t *table, p *proxy) error {
	every := probeEvery
	if len(e.services) > 1 {
		every *= 10
	}
	var sum, writes cost
	for range e.times {
		before, begin := p.cpu(), time.Now()
		if err := e.write(ctx); err != nil {
			return err
		}
		writes.wall += time.Since(begin)
		if err := await(ctx, p.space, true, every, e.services...); err != nil {
			return err
		}
		wall := time.Since(begin)
		if err := p.idle(ctx); err != nil {
			return err
		}
		c := p.cpu().minus(before)
		c.wall = wall
		sum = sum.plus(c)

		if err := e.undo(ctx); err != nil {
			return err
		}
		if err := await(ctx, p.space, false, every, e.services...); err != nil {
			return err
		}
		if err := p.idle(ctx); err != nil {
			return err
		}
	}
	t.add(e.name, p.name, sum.per(e.times))
	t.add(e.name, carrierWrite, writes.per(e.times))
	log.Printf("%s: %s: %s", p.name, e.name, short(sum.per(e.times).wall))
	return nil
}
