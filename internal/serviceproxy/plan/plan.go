// Package plan says what a node's Service proxy has to do, in terms that every kernel mechanism shares: frontends and the endpoints behind
// them. It owns the plan's types, its making from the model, its diff, and the Backend interface that mechanisms implement.
//
// It never reads Kubernetes objects and never touches the kernel.
package plan

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/model"
)

// Key identifies a frontend: what a client dials. A valid Addr is a virtual address; the zero Addr stands for every address of the node
// itself (a node port), in which case Family says which.
type Key struct {
	Addr     netip.Addr
	Family   Family // of Addr, or of a node port
	Protocol model.Protocol
	Port     uint16
}

// Family is an IP family.
type Family uint8

// The IP families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf gives the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// NodePort tells whether the frontend is a port on the node's own addresses.
func (k Key) NodePort() bool { return !k.Addr.IsValid() }

// Compare orders keys: virtual addresses first, then node ports.
func (k Key) Compare(o Key) int {
	if k.NodePort() != o.NodePort() {
		if o.NodePort() {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(k.Family, o.Family), k.Addr.Compare(o.Addr), cmp.Compare(k.Protocol, o.Protocol), cmp.Compare(k.Port, o.Port))
}

// Kind is the sort of address a frontend has, which decides whether traffic to it counts as coming from outside.
type Kind uint8

// The kinds of frontend.
const (
	ClusterIP Kind = iota
	ExternalIP
	LoadBalancerIP
	NodePort
)

// String names the kind.
func (k Kind) String() string {
	return [...]string{ClusterIP: "ClusterIP", ExternalIP: "ExternalIP", LoadBalancerIP: "LoadBalancer", NodePort: "NodePort"}[k]
}

// MarshalText makes JSON show the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Verdict is what happens to a packet for which there is no endpoint.
type Verdict uint8

const (
	// Reject answers at once: TCP reset, or ICMP port unreachable.
	Reject Verdict = iota
	// Drop stays silent: there are endpoints, but none this traffic policy allows here.
	Drop
)

// Frontend is one address and port that the node answers for, with all that is needed to carry a packet.
//
// Who gets which endpoints: traffic to a ClusterIP, and traffic that starts inside the cluster (a Pod or the node itself) to any other
// kind, uses Endpoints. Traffic that comes from outside to an ExternalIP, LoadBalancerIP or NodePort uses Local if ExternalLocal is set,
// keeping its source address; otherwise Endpoints, and it is masqueraded so that replies come back this way. A packet whose source is the
// very endpoint chosen for it (hairpin) is always masqueraded.
type Frontend struct {
	Key
	Kind     Kind
	Service  model.ServiceName
	PortName string // of the Service; "" if it has none

	Endpoints []netip.AddrPort // sorted; empty: OnEmpty
	OnEmpty   Verdict

	ExternalLocal bool
	Local         []netip.AddrPort // sorted; only with ExternalLocal; empty: OnEmptyLocal
	OnEmptyLocal  Verdict

	// Affinity is how long a client address keeps its endpoint, 0 is none. It is refreshed by each new connection.
	Affinity time.Duration

	// Serving is where a flow may go on that began earlier, sorted: every endpoint that serves, also one that terminates, or that traffic
	// policy or hints keep new flows from. Only of UDP and SCTP, whose flows are ended for them; TCP's end by themselves.
	Serving []netip.AddrPort

	// SourceRanges limits client addresses of a LoadBalancerIP (others are dropped); nil is everybody. Only prefixes of this frontend's
	// family; a Service that has ranges but none of this family has an empty, non-nil list.
	SourceRanges []netip.Prefix

	Origin model.Origin
}

// Equal tells whether two frontends would be programmed the same and explained the same.
func (f *Frontend) Equal(o *Frontend) bool {
	return f.Key == o.Key && f.Kind == o.Kind && f.Service == o.Service && f.PortName == o.PortName &&
		slices.Equal(f.Endpoints, o.Endpoints) && f.OnEmpty == o.OnEmpty &&
		slices.Equal(f.Serving, o.Serving) && f.ExternalLocal == o.ExternalLocal && slices.Equal(f.Local, o.Local) && f.OnEmptyLocal == o.OnEmptyLocal &&
		f.Affinity == o.Affinity && (f.SourceRanges == nil) == (o.SourceRanges == nil) && slices.Equal(f.SourceRanges, o.SourceRanges) &&
		f.Origin == o.Origin
}

// Diff is what changed between two plans. A key is in Set (new or changed; the value is whole) or in Delete, never in both, and at most once.
type Diff struct {
	Set    []*Frontend
	Delete []Key
}

// Empty tells whether nothing changed.
func (d *Diff) Empty() bool { return len(d.Set) == 0 && len(d.Delete) == 0 }

// Config is what a Backend must know of the node, the same for all frontends.
type Config struct {
	// ClusterCIDRs are the Pod ranges of the cluster: sources in them, and the node itself, count as inside.
	ClusterCIDRs []netip.Prefix
	// NodePortAddresses limits node ports to the node's addresses inside these prefixes; empty is every address but loopback.
	NodePortAddresses []netip.Prefix
	// VirtualRanges are ranges in which no machine has an address: those of Services, and the pools of LoadBalancer addresses, as far as they
	// are known. A packet to an address and port in them that is no frontend's is rejected rather than routed.
	VirtualRanges []netip.Prefix
	// MasqueradeMark is the bit of the packet mark that asks for masquerading.
	MasqueradeMark uint32
}

// Backend puts a plan into the kernel. Calls come from one goroutine at a time. Frontends are shared and must not be changed.
type Backend interface {
	// Restore makes the kernel carry exactly these frontends, whatever it held before, changing nothing that is right already and
	// interrupting no connection. Called at start, and after Apply reported that the kernel's state is no longer known.
	Restore(ctx context.Context, frontends []*Frontend) (Result, error)
	// Apply changes what the diff says. It costs what the diff holds, not what the plan holds.
	Apply(ctx context.Context, diff *Diff) (Result, error)
	// Lookup tells where and how the kernel holds a frontend, read from the kernel now, as lines for people.
	Lookup(ctx context.Context, key Key) ([]string, error)
	// Close releases handles; what is programmed stays and goes on carrying.
	Close() error
}

// Result is what a Backend did.
type Result struct {
	Elements int      // elements of kernel state added, changed or removed
	Refused  []Refuse // frontends the kernel would not take; all others are in force
}

// Refuse names a frontend that is not in force, and why.
type Refuse struct {
	Key Key
	Err error
}
