package cli

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/internal/address"
	"github.com/weftmesh/weft/internal/address/announce"
	"github.com/weftmesh/weft/internal/address/duty"
	"github.com/weftmesh/weft/internal/admin"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/store"
)

// announceFlags say how a node answers for LoadBalancer addresses.
type announceFlags struct {
	pools      string
	nodeIPs    string
	interfaces []string
}

func (f *announceFlags) define(fs *pflag.FlagSet) {
	fs.StringVar(&f.pools, "lb-pool", "", "ranges of addresses for LoadBalancer Services, as given to weft control; empty: this node answers for none")
	fs.StringVar(&f.nodeIPs, "node-ip", os.Getenv("NODE_IPS"), "this node's own addresses: LoadBalancer addresses are announced on the interfaces that hold them (default: $NODE_IPS)")
	fs.StringSliceVar(&f.interfaces, "announce-interface", nil, "interfaces to announce on instead")
}

// announcer answers for the LoadBalancer addresses that are this node's duty.
type announcer struct {
	world   *world
	pools   []address.Pool
	node    string
	file    duty.File
	network *announce.Announcer // nil: there is no pool
	changed atomic.Pointer[time.Time]
}

func newAnnouncer(w *world, node, stateDir string, f announceFlags, registry *prometheus.Registry) (*announcer, error) {
	a := &announcer{world: w, node: node}
	a.pools, _ = address.ParsePools(f.pools) // what cannot be used of them is weft control's to report, once
	if len(a.pools) == 0 {
		return a, nil
	}
	if stateDir != "" {
		a.file.Path = filepath.Join(stateDir, "announce.json")
	}
	var ips []netip.Addr
	for _, s := range strings.FieldsFunc(f.nodeIPs, func(r rune) bool { return r == ',' || r == ' ' }) {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return nil, badUsage("--node-ip %q is no address", s)
		}
		ips = append(ips, ip)
	}
	if len(ips) == 0 && len(f.interfaces) == 0 {
		return nil, badUsage("--lb-pool needs --node-ip or --announce-interface: where are addresses to be announced?")
	}
	var err error
	a.network, err = announce.New(announce.Options{NodeAddresses: ips, Interfaces: f.interfaces, Log: w.log, Registerer: registry})
	return a, err
}

func (a *announcer) run(ctx context.Context) error {
	if a.network == nil {
		<-ctx.Done()
		return nil
	}
	if last, err := a.file.Read(); err != nil {
		a.world.log.Warn("the last LoadBalancer addresses of this node cannot be read", "error", err)
	} else {
		a.network.Set(last)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.network.Run(ctx) })
	group.Go(func() error {
		var set duty.Set
		full := false
		put := func(deltas []derive.Delta[store.Key, []netip.Addr]) {
			addrs := set.Update(deltas)
			if !full {
				return // what was decided last stands until everything is known
			}
			if slices.Equal(addrs, a.network.Status().Addresses) {
				return
			}
			a.network.Set(addrs)
			a.changed.Store(new(time.Now()))
			if err := a.file.Write(addrs); err != nil {
				a.world.log.Warn("the LoadBalancer addresses of this node cannot be kept", "error", err)
			}
		}
		follow(ctx, a.world, duty.Of(a.world.store.DB(), a.world.model, a.pools, a.node),
			func(_ derive.Rev, deltas []derive.Delta[store.Key, []netip.Addr]) { put(deltas) },
			func() { full = true; put(nil) })
		return nil
	})
	return group.Wait()
}

func (a *announcer) sections() []admin.Section {
	if a.network == nil {
		return nil
	}
	s := a.network.Status()
	out := admin.Section{Name: "addresses", Origin: admin.FromLive, Error: s.Error, Facts: []admin.Fact{{Name: "announced", Value: strconv.Itoa(len(s.Addresses))}}}
	if !a.world.store.Synced() {
		out.Origin = admin.FromDisk
	}
	if t := a.changed.Load(); t != nil {
		out.Changed = *t
	}
	for _, addr := range s.Addresses {
		out.Facts = append(out.Facts, admin.Fact{Name: "answers for", Value: addr.String()})
	}
	for _, i := range s.Interfaces {
		if i.Error != "" {
			out.Error = i.Name + ": " + i.Error
		}
	}
	return []admin.Section{out}
}
