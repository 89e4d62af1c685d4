package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// Options are for unusual surroundings.
type Options struct {
	// NetNS is a file descriptor of the network namespace to work in; 0 is the caller's own. It is used during New only.
	NetNS int
}

// Backend carries a plan with nftables. Its methods may be called from any goroutine; they take turns.
type Backend struct {
	cfg plan.Config

	mu        sync.Mutex
	conn      *conn
	w         wire                  // memory of the last transaction
	entries   map[plan.Key]*entry   // what is programmed
	balancers map[balancer]target   // the balancer chains that exist, with their names
	shares    map[share]*shareState // the elements that frontends have in common
	scratch   struct{ had, want []element }
}

var _ plan.Backend = (*Backend)(nil)

// New connects to nf_tables and changes nothing yet. The caller must Close the backend.
func New(cfg plan.Config, opts Options) (*Backend, error) {
	if cfg.MasqueradeMark == 0 {
		return nil, errors.New("plan configuration: MasqueradeMark is 0, need a bit")
	}
	for field, all := range map[string][]netip.Prefix{
		"ClusterCIDRs": cfg.ClusterCIDRs, "NodePortAddresses": cfg.NodePortAddresses, "VirtualRanges": cfg.VirtualRanges,
	} {
		for _, p := range all {
			if !p.IsValid() || p.Addr().Is4In6() {
				return nil, fmt.Errorf("plan configuration: %s has %s, which is no prefix of IPv4 or IPv6", field, p)
			}
		}
	}
	for fam := range families {
		for _, c := range skeleton(fam, cfg) {
			if err := c.err(); err != nil {
				return nil, err
			}
		}
	}
	c, err := dial(opts.NetNS)
	if err != nil {
		return nil, err
	}
	return &Backend{
		cfg: cfg, conn: c,
		entries: map[plan.Key]*entry{}, balancers: map[balancer]target{}, shares: map[share]*shareState{},
	}, nil
}

// Close closes the connection. What is programmed stays and goes on carrying.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conn.close()
}

// ErrDrift means that somebody else changed our tables, so that a change built on what we knew of them was refused. Restore repairs that.
var ErrDrift = errors.New("tables were changed by somebody else")

// Apply changes what the diff says, in one transaction unless part of it is refused or it is larger than the kernel takes at once. A frontend
// that is refused stays as it was. After an error the kernel's state is not known, and Restore must be called.
func (b *Backend) Apply(ctx context.Context, diff *plan.Diff) (plan.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var res plan.Result
	changes := make([]change, 0, len(diff.Set)+len(diff.Delete))
	for _, k := range diff.Delete {
		if old := b.entries[k]; old != nil {
			changes = append(changes, change{key: k, old: old})
		}
	}
	for _, f := range diff.Set {
		if err := check(f); err != nil {
			res.Refused = append(res.Refused, plan.Refuse{Key: f.Key, Err: err})
			continue
		}
		c := change{key: f.Key, old: b.entries[f.Key]}
		if c.old != nil {
			c.now = newEntry(f, c.old.endpoints, c.old.local)
		} else {
			c.now = newEntry(f, nil, nil)
		}
		changes = append(changes, c)
	}
	err := b.commit(ctx, &transaction{changes: changes}, &res)
	return res, err
}

// check tells what no table could hold.
func check(f *plan.Frontend) error {
	if f.Family != plan.IPv4 && f.Family != plan.IPv6 {
		return fmt.Errorf("family is %d", f.Family)
	}
	if !f.NodePort() && (plan.FamilyOf(f.Addr) != f.Family || f.Addr.Is4In6() || f.Addr.Zone() != "" || f.Addr.IsUnspecified()) {
		return fmt.Errorf("address %s is none of IPv%d", f.Addr, f.Family)
	}
	if f.Port == 0 {
		return errors.New("port is 0")
	}
	switch f.Protocol {
	case model.TCP, model.UDP, model.SCTP:
	default:
		return fmt.Errorf("%s is not carried", f.Protocol)
	}
	if f.Affinity < 0 {
		return fmt.Errorf("affinity lasts %s", f.Affinity)
	}
	for _, all := range [...][]netip.AddrPort{f.Endpoints, f.Local} {
		for i, ep := range all {
			if !ep.IsValid() || plan.FamilyOf(ep.Addr()) != f.Family || ep.Addr().Is4In6() || ep.Addr().Zone() != "" || ep.Port() == 0 {
				return fmt.Errorf("endpoint %s is none of IPv%d", ep, f.Family)
			}
			if i > 0 && all[i-1].Compare(ep) >= 0 {
				return fmt.Errorf("endpoint %s is out of order", ep)
			}
		}
	}
	for _, p := range f.SourceRanges {
		if !p.IsValid() || plan.FamilyOf(p.Addr()) != f.Family {
			return fmt.Errorf("source range %s is none of IPv%d", p, f.Family)
		}
	}
	return nil
}

// drifted tells whether an error says that the kernel holds something else than we thought: an element or chain is gone, or in the way.
func drifted(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) }
