//go:build linux

package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
)

const (
	// repeats and repeatEvery say how a takeover is told (RFC 4861, section 10: MAX_NEIGHBOR_ADVERTISEMENT and RetransTimer).
	repeats     = 3
	repeatEvery = time.Second
	// lookEvery is how often interfaces are looked for, besides when the kernel says that one changed.
	lookEvery = 10 * time.Second
)

// Options is what an Announcer is made of.
type Options struct {
	// NodeAddresses are the node's own addresses (InternalIPs). Addresses are announced on the interfaces that hold them.
	NodeAddresses []netip.Addr
	// Interfaces are names of interfaces to announce on, instead of those that hold NodeAddresses.
	Interfaces []string

	Log        *slog.Logger          // nil: slog.Default
	Registerer prometheus.Registerer // nil: no metrics
}

// Announcer answers for addresses on the node's interfaces while it runs. It needs CAP_NET_RAW.
type Announcer struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	wake    chan struct{}
	ours    atomic.Pointer[map[netip.Addr]bool] // what is answered for; never changed in place

	mu     sync.Mutex
	status Status
}

// Status is how an Announcer is doing.
type Status struct {
	Addresses  []netip.Addr      `json:"addresses,omitempty"`  // sorted
	Interfaces []InterfaceStatus `json:"interfaces,omitempty"` // sorted by name
	Error      string            `json:"error,omitempty"`      // why no interface was found
}

// InterfaceStatus is an interface that is announced on, or should be.
type InterfaceStatus struct {
	Name  string `json:"name"`
	MAC   string `json:"mac,omitempty"`
	Up    bool   `json:"up"`
	Error string `json:"error,omitempty"` // why it is not announced on
}

// New gives an Announcer that answers for nothing yet. The error is about metrics that cannot be registered.
func New(opts Options) (*Announcer, error) {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	a := &Announcer{opts: opts, log: opts.Log, wake: make(chan struct{}, 1)}
	a.ours.Store(&map[netip.Addr]bool{})
	var err error
	a.metrics, err = newMetrics(opts.Registerer, a)
	return a, err
}

// Set says which addresses this node answers for from now on. New ones are announced; for those that are gone no answer is given any more. It never
// waits for the network.
func (a *Announcer) Set(addrs []netip.Addr) {
	ours := make(map[netip.Addr]bool, len(addrs))
	for _, addr := range addrs {
		if addr = addr.Unmap().WithZone(""); addr.IsValid() && !addr.IsUnspecified() && !addr.IsMulticast() && !addr.IsLoopback() {
			ours[addr] = true
		}
	}
	a.ours.Store(&ours)
	signal(a.wake)
}

// Status never waits for the network.
func (a *Announcer) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.status
	s.Addresses = slices.SortedFunc(maps.Keys(*a.ours.Load()), netip.Addr.Compare)
	s.Interfaces = slices.Clone(s.Interfaces)
	return s
}

// Run answers and announces until the context ends. It opens everything it needs from its own goroutine, in whose network namespace it so works.
// An interface that is missing, down or refuses is reported in Status and tried again.
func (a *Announcer) Run(ctx context.Context) error {
	w, err := watch()
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	defer func() { w.close() }()
	links := map[int]*link{}
	defer func() {
		for _, l := range links {
			l.close()
		}
	}()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		for index := range w.wentDown() {
			if l := links[index]; l != nil {
				l.setUp(false)
			}
		}
		a.adjust(links)
		ours := *a.ours.Load()
		var due time.Time
		for _, l := range links {
			if at := l.announce(time.Now(), ours); due.IsZero() || !at.IsZero() && at.Before(due) {
				due = at
			}
		}
		next.Stop()
		if !due.IsZero() {
			next.Reset(time.Until(due))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-w.changed:
		case <-look.C:
			if again, err := w.renew(); err != nil {
				a.log.Warn("cannot watch interfaces", "error", err)
			} else {
				w = again
			}
		case <-next.C:
		}
	}
}

// adjust opens and closes links so that they are those that should be announced on.
func (a *Announcer) adjust(links map[int]*link) {
	var st Status
	found, err := a.find()
	if err != nil {
		st.Error = err.Error()
	}
	for index, l := range links {
		now, stays := found[index]
		if !stays || now.mac != l.mac || l.broken.Load() {
			l.close()
			delete(links, index)
		}
	}
	for index, f := range found {
		s := InterfaceStatus{Name: f.name, MAC: f.mac.String(), Up: f.up}
		l := links[index]
		if l == nil {
			if l, err = a.open(f); err == nil {
				links[index] = l
				a.log.Info("announcing on interface", "interface", f.name, "mac", f.mac.String())
			} else {
				s.Error = err.Error()
			}
		}
		if l != nil {
			l.setUp(f.up)
		}
		st.Interfaces = append(st.Interfaces, s)
	}
	slices.SortFunc(st.Interfaces, func(a, b InterfaceStatus) int { return strings.Compare(a.Name, b.Name) })
	a.mu.Lock()
	defer a.mu.Unlock()
	if st.Error != "" && st.Error != a.status.Error {
		a.log.Warn("cannot announce LoadBalancer addresses", "error", st.Error)
	}
	for _, s := range st.Interfaces {
		if s.Error != "" && !slices.Contains(a.status.Interfaces, s) {
			a.log.Warn("cannot announce on interface", "interface", s.Name, "error", s.Error)
		}
	}
	a.status = st
}

// found is an interface to announce on.
type found struct {
	index int
	name  string
	mac   mac
	up    bool
}

// find gives the interfaces to announce on, by index. The error is about those that are missing.
func (a *Announcer) find() (map[int]found, error) {
	out := map[int]found{}
	var errs []error
	add := func(l netlink.Link) {
		attrs := l.Attrs()
		if len(attrs.HardwareAddr) != len(mac{}) {
			errs = append(errs, fmt.Errorf("interface %s has no Ethernet address", attrs.Name))
			return
		}
		up := attrs.OperState == netlink.OperUp || attrs.OperState == netlink.OperUnknown
		out[attrs.Index] = found{attrs.Index, attrs.Name, mac(attrs.HardwareAddr), up && attrs.RawFlags&flagUp != 0}
	}
	if len(a.opts.Interfaces) > 0 {
		for _, name := range a.opts.Interfaces {
			if l, err := netlink.LinkByName(name); err != nil {
				errs = append(errs, fmt.Errorf("interface %s: %w", name, err))
			} else {
				add(l)
			}
		}
		return out, errors.Join(errs...)
	}
	holders, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return out, fmt.Errorf("list addresses: %w", err)
	}
	for _, node := range a.opts.NodeAddresses {
		i := slices.IndexFunc(holders, func(h netlink.Addr) bool {
			held, _ := netip.AddrFromSlice(h.IP)
			return held.Unmap() == node.Unmap()
		})
		if i < 0 {
			errs = append(errs, fmt.Errorf("no interface holds the node's address %v", node))
		} else if l, err := netlink.LinkByIndex(holders[i].LinkIndex); err != nil {
			errs = append(errs, fmt.Errorf("interface %d, which holds %v: %w", holders[i].LinkIndex, node, err))
		} else {
			add(l)
		}
	}
	return out, errors.Join(errs...)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
