package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/address"
	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/status"
	"github.com/weftmesh/weft/internal/store"
)

// Options are what a [Control] is made of. Client, Store, Model and Identity must be given; the other zero values have the defaults that
// are named.
type Options struct {
	Client kubernetes.Interface // asks with timeouts of its own, and is not used before the store is full
	Store  *store.Store         // filled by others
	Model  *compose.Model       // over that store

	// Addresses are the pools and what goes with them; PoolFindings is what reading the pools has found.
	Addresses    address.Options
	PoolFindings []finding.Finding

	Ingress *IngressOptions // nil: the status of Ingresses is left alone

	// Beside runs while this replica writes, for what is written beside, and returns when its context ends; nil is nothing.
	Beside func(context.Context)

	Identity  string // of this replica: the Pod's name
	Namespace string // of the Lease; "" is weft-system
	LeaseName string // "" is weft-control

	// LeaseDuration is how long a Lease that is not renewed keeps others from writing, RenewDeadline how long this replica writes on without
	// having renewed it, and RetryPeriod the time between tries; 0 is 15 s, 10 s and 2 s. Each must be longer than the next.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration

	Log        *slog.Logger          // nil: slog.Default
	Registerer prometheus.Registerer // nil: no metrics
}

// Control is one replica of weft control. Its methods are safe for concurrent use.
type Control struct {
	o      Options
	log    *slog.Logger
	writer *status.Writer
	// ingressWriter is nil without Options.Ingress.
	ingressWriter *status.Writer
	events        *status.Events

	mu           sync.Mutex
	allocator    *address.Allocator
	published    map[model.ServiceName][]netip.Addr // of Services of type LoadBalancer, as the model has it
	findings     map[finding.Object]said
	poolFindings []finding.Finding // of the allocator, as said
	revision     derive.Rev
	following    bool
	election     election
	ingresses    map[model.ObjectName]bool // that are carried
	reached      []netip.Addr              // where they are reached
}

// said is the findings on an object: those that come with the model, and those that are made here.
type said struct{ derived, here []finding.Finding }

func (s said) all() []finding.Finding {
	all := slices.Concat(s.derived, s.here)
	slices.SortFunc(all, finding.Compare)
	return slices.Compact(all)
}

// New makes a replica that waits to be run. The error is about options that are missing, or metrics that cannot be registered.
func New(o Options) (*Control, error) {
	if o.Client == nil || o.Store == nil || o.Model == nil || o.Identity == "" {
		return nil, errors.New("control: Client, Store, Model and Identity must be given")
	}
	o.Namespace = cmp.Or(o.Namespace, "weft-system")
	o.LeaseName = cmp.Or(o.LeaseName, "weft-control")
	o.LeaseDuration = cmp.Or(o.LeaseDuration, 15*time.Second)
	o.RenewDeadline = cmp.Or(o.RenewDeadline, 10*time.Second)
	o.RetryPeriod = cmp.Or(o.RetryPeriod, 2*time.Second)
	o.Log = cmp.Or(o.Log, slog.Default())
	c := &Control{
		o: o, log: o.Log, allocator: address.NewAllocator(o.Addresses),
		published: map[model.ServiceName][]netip.Addr{}, findings: map[finding.Object]said{},
	}
	if _, err := c.newElector(nil, func(context.Context) {}); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	var err error
	if c.writer, err = status.NewWriter(status.WriterOptions{Client: o.Client.CoreV1(), Ours: c.inPool, Log: o.Log, Registerer: o.Registerer}); err != nil {
		return nil, err
	}
	if o.Ingress != nil {
		c.ingresses = map[model.ObjectName]bool{}
		if c.ingressWriter, err = status.NewWriter(status.WriterOptions{Ingresses: o.Client.NetworkingV1(), Ours: c.inPool, Log: o.Log, Registerer: o.Registerer}); err != nil {
			return nil, err
		}
	}
	if c.events, err = status.NewEvents(status.EventsOptions{Client: o.Client, Instance: o.Identity, Log: o.Log, Registerer: o.Registerer}); err != nil {
		return nil, err
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(collector{c}); err != nil {
			return nil, fmt.Errorf("control: register metrics: %w", err)
		}
	}
	return c, nil
}

// Run waits until the store is full, follows the model, and writes while it is this replica's turn, until ctx ends. Then it gives up the Lease,
// and returns when nothing is under way any more. It is called once. The API server being away is no error: Run keeps trying.
func (c *Control) Run(ctx context.Context) error {
	if err := c.o.Store.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("control: %w", err)
	}
	f := c.follow()
	defer f.stop()
	f.step()
	c.log.Info("following the model", "loadBalancerServices", len(c.published), "pools", len(c.o.Addresses.Pools))

	var wg sync.WaitGroup
	wg.Go(func() { c.elect(ctx) })
	f.run(ctx)
	wg.Wait()
	return nil
}

func (c *Control) inPool(a netip.Addr) bool {
	return slices.ContainsFunc(c.o.Addresses.Pools, func(p address.Pool) bool { return p.Contains(a) })
}
