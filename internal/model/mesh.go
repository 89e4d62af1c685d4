package model

import (
	"net/netip"
	"strings"
)

// AppProtocol is what is spoken at a port of a Service, as it is declared (Istio's protocol selection).
type AppProtocol uint8

const (
	// ProtocolAuto: nobody says, so it is found out from the first bytes of either side.
	ProtocolAuto AppProtocol = iota
	// ProtocolHTTP: HTTP/1.1, or HTTP/2 if the client begins so.
	ProtocolHTTP
	// ProtocolHTTP2: HTTP/2 with prior knowledge, gRPC among it.
	ProtocolHTTP2
	// ProtocolTCP: bytes; the server may speak first.
	ProtocolTCP
	// ProtocolTLS: the client begins with TLS of its own.
	ProtocolTLS
)

// String names the protocol as appProtocol does.
func (p AppProtocol) String() string {
	return [...]string{ProtocolAuto: "auto", ProtocolHTTP: "http", ProtocolHTTP2: "http2", ProtocolTCP: "tcp", ProtocolTLS: "tls"}[p]
}

// MeshHost is a host that the sidecars of a mesh may use: what they have to know of it to lead a connection there.
type MeshHost struct {
	Host      string // fully qualified, or "*.suffix"
	Namespace string // of who declares it

	Addresses []netip.Addr   // that stand for it, sorted; none if it is headless, or found by its name only
	Prefixes  []netip.Prefix // ranges of such addresses
	Ports     []MeshPort     // in the declared order; none: whatever port speaks HTTP
	Headless  bool           // its endpoints are dialled by the address that the client chose

	Identities []string // SPIFFE IDs of who serves it with the mesh's TLS, sorted
	Exported   []string // the namespaces that see it: names, or "*"

	// Anywhere says that no address stands for it, so that what its clients send to addresses of nobody is led by its [ConnectionRule]s.
	Anywhere bool
	// Ruled says that some clients may have [ConnectionRule]s for it.
	Ruled  bool
	Origin Origin
}

// ConnectionRule is where some of the connections to a port lead that are carried as bytes. Of the rules of a port that one counts whose subnet is the closest
// around the destination, and of those the one whose name is the closest to the client's; the first of several. If none of these has the name, it is
// the first without subnets and names, and if there is no such rule either, the connection goes where the client wants to go.
type ConnectionRule struct {
	Subnets []netip.Prefix // of the destination; none: any, if no rule has a subnet around it
	SNI     []string       // names or "*.suffix" that the client begins TLS with; none: any, and clients without TLS
	To      []Weighted     // with the numbers of ports; none: connections are refused
	Origin  Origin         // of the rule; of who declares the host, if nobody says anything else
}

// ClosestRules gives the rules whose subnet is the closest around a destination, in their order.
func ClosestRules(rules []ConnectionRule, at netip.Addr) (out []*ConnectionRule) {
	best := -1
	for i := range rules {
		bits := -1
		for _, p := range rules[i].Subnets {
			if p.Contains(at) {
				bits = max(bits, p.Bits())
			}
		}
		if bits < best || bits < 0 && len(rules[i].Subnets) > 0 {
			continue
		}
		if bits > best {
			best, out = bits, nil
		}
		out = append(out, &rules[i])
	}
	return out
}

// RuleFor gives the rule for a connection to an address, of a client that begins TLS with a name, or ""; nil if there is none.
func RuleFor(rules []ConnectionRule, at netip.Addr, name string) (found *ConnectionRule) {
	closest := -1
	for _, r := range ClosestRules(rules, at) {
		n := -1
		if len(r.SNI) == 0 {
			n = 0
		}
		for _, of := range r.SNI {
			switch suffix, wild := strings.CutPrefix(of, "*"); {
			case of == name:
				n = 1 << 16
			case wild && len(name) > len(suffix) && strings.HasSuffix(name, suffix):
				n = max(n, 1+len(suffix))
			}
		}
		if n > closest {
			closest, found = n, r
		}
	}
	if found == nil {
		return RestRule(rules)
	}
	return found
}

// RestRule gives the rule for what no other takes; nil if there is none.
func RestRule(rules []ConnectionRule) *ConnectionRule {
	for i := range rules {
		if len(rules[i].Subnets)+len(rules[i].SNI) == 0 {
			return &rules[i]
		}
	}
	return nil
}

// Names lists what clients of a namespace may call a host: its full name, the shorter ones that a resolver in that namespace completes in the
// cluster's domain, and its addresses as URLs spell them.
func (h *MeshHost) Names(namespace, domain string) []string {
	out := []string{h.Host}
	if name, ok := strings.CutSuffix(h.Host, ".svc."+domain); ok {
		out = append(out, name+".svc", name)
		if short, own := strings.CutSuffix(name, "."+namespace); own && !strings.Contains(short, ".") {
			out = append(out, short)
		}
	}
	for _, a := range h.Addresses {
		if a.Is6() {
			out = append(out, "["+a.String()+"]")
		} else {
			out = append(out, a.String())
		}
	}
	return out
}

// MeshPort is a port of a [MeshHost].
type MeshPort struct {
	Port     uint16
	Protocol AppProtocol
	TLS      bool // every endpoint takes the mesh's TLS
}

// MeshWorkload is what sidecars know of whom they may talk to by address.
type MeshWorkload struct {
	Name      ObjectName
	Addresses []netip.Addr // sorted
	Identity  string       // SPIFFE ID
	Owner     Owner
	Account   string   // service account
	App       string   // label "app"
	Version   string   // label "version"
	TLS       bool     // it has a sidecar that takes the mesh's TLS,
	Plaintext []uint16 // but not at these ports
}

// Owner is what a workload belongs to, in the words of Istio's metrics.
type Owner struct {
	Workload  string // the Deployment or other controller
	Namespace string
	Name      string // canonical name
	Revision  string // canonical revision
}

// Sidecar is all that the configuration of a Pod's sidecar depends on besides the mesh: Pods that agree in it are told the same.
type Sidecar struct {
	Namespace      string
	Labels         Labels // less those that tell Pods of one Deployment apart
	ServiceAccount string
	Ports          Labels // the named ports of its containers, "grpc=9000,http=8080"
}

// String reads "shop/app=web".
func (s Sidecar) String() string { return s.Namespace + "/" + string(s.Labels) }

// Inbound is what a sidecar does with connections to its Pod.
type Inbound struct {
	Sidecar Sidecar
	Ports   []InboundPort // sorted by number
	Peers   *PeerAuthentication
	Guard   Guard
}

// InboundPort is a port of a Pod that Services lead to.
type InboundPort struct {
	Port     uint16 // of the Pod
	Protocol AppProtocol
	Service  ServiceName // the oldest of those that lead here
	Host     string      // the Service's name, fully qualified
	Origin   Origin      // of the Service's port
}
