// Package network is the one place that says which addresses a lab uses. It
// computes them from the number of nodes and never touches the kernel.
//
// Every lab has the same addresses: labs live in network namespaces of their
// own, with no route to each other or out.
package network

import (
	"fmt"
	"net/netip"
	"strings"
)

// Fixed addresses and ranges, IPv4 first.
var (
	nodeCIDRs     = []netip.Prefix{netip.MustParsePrefix("10.89.0.0/24"), netip.MustParsePrefix("fd89::/64")}
	podCIDRs      = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd44::/48")}
	serviceCIDRs  = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd96::/112")}
	externalCIDRs = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:198::/64")}
	pools         = []Range{
		{netip.MustParseAddr("10.89.0.200"), netip.MustParseAddr("10.89.0.250")},
		{netip.MustParseAddr("fd89::200"), netip.MustParseAddr("fd89::250")},
	}
	clusterDNS = netip.MustParseAddr("10.96.0.10")
)

// Host numbers on the network of the nodes, in both families: node i is
// 10.89.0.(10+i) and fd89::(10+i), the digits of the latter read as they are
// written.
const (
	routerHost       = 1
	controlPlaneHost = 2
	firstNodeHost    = 11
	outsideHost      = 100

	// MaxNodes is how many nodes a lab can have.
	MaxNodes = 80

	// APIServerPort is where the API server listens.
	APIServerPort = 6443

	// Router, ControlPlane and Outside name the machines that are no nodes.
	Router       = "router"
	ControlPlane = "control-plane"
	Outside      = "outside"
)

// Range is a run of addresses of one family, both ends included.
type Range struct{ From, To netip.Addr }

// String writes the range as FROM-TO.
func (r Range) String() string { return r.From.String() + "-" + r.To.String() }

// MarshalText writes the range as FROM-TO.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads FROM-TO.
func (r *Range) UnmarshalText(text []byte) error {
	from, to, ok := strings.Cut(string(text), "-")
	if !ok {
		return fmt.Errorf("range %q is not FROM-TO", text)
	}
	var err error
	if r.From, err = netip.ParseAddr(from); err != nil {
		return fmt.Errorf("range %q: %w", text, err)
	}
	if r.To, err = netip.ParseAddr(to); err != nil {
		return fmt.Errorf("range %q: %w", text, err)
	}
	return nil
}

// Plan is the addresses of one lab. It is not to be modified.
type Plan struct {
	NodeCIDRs     []netip.Prefix `json:"nodeCIDRs"`     // the nodes' own network
	PodCIDRs      []netip.Prefix `json:"podCIDRs"`      // all Pods; each node has a part
	ServiceCIDRs  []netip.Prefix `json:"serviceCIDRs"`  // cluster IPs
	ClusterDNS    netip.Addr     `json:"clusterDNS"`    // what kubelets tell Pods to ask; nothing listens there by itself
	LoadBalancers []Range        `json:"loadBalancers"` // free addresses of the nodes' network
	ExternalCIDRs []netip.Prefix `json:"externalCIDRs"` // what outside routes to the first node
	Router        []netip.Addr   `json:"router"`        // default gateway of the nodes, which leads nowhere
	Nodes         []Host         `json:"-"`
	ControlPlane  Host           `json:"-"`
	Outside       Host           `json:"-"`
}

// Host is a machine on the nodes' network.
type Host struct {
	Name string
	// Number is unique on the network.
	Number int
	// Addresses are the machine's own, with the prefix length of the network.
	Addresses []netip.Prefix
	// PodCIDRs is the node's part of the Pod ranges; nil for others.
	PodCIDRs []netip.Prefix
}

// IPs returns the addresses without prefix length.
func (h Host) IPs() []netip.Addr {
	ips := make([]netip.Addr, len(h.Addresses))
	for i, a := range h.Addresses {
		ips[i] = a.Addr()
	}
	return ips
}

// New plans a lab with that many nodes, named node-1 and so on.
func New(nodes int) (*Plan, error) {
	if nodes < 1 || nodes > MaxNodes {
		return nil, fmt.Errorf("%d nodes: a lab has 1 to %d", nodes, MaxNodes)
	}
	p := &Plan{
		NodeCIDRs: nodeCIDRs, PodCIDRs: podCIDRs, ServiceCIDRs: serviceCIDRs, ClusterDNS: clusterDNS,
		LoadBalancers: pools, ExternalCIDRs: externalCIDRs,
		Router:       host(Router, routerHost).IPs(),
		ControlPlane: host(ControlPlane, controlPlaneHost),
		Outside:      host(Outside, outsideHost),
	}
	for i := range nodes {
		node := host(fmt.Sprintf("node-%d", i+1), firstNodeHost+i)
		for _, r := range podCIDRs {
			node.PodCIDRs = append(node.PodCIDRs, nodePart(r, i+1))
		}
		p.Nodes = append(p.Nodes, node)
	}
	return p, nil
}

// RouterPrefixes are the router's addresses with the prefix length of the network.
func (p *Plan) RouterPrefixes() []netip.Prefix { return host(Router, routerHost).Addresses }

// APIServer is where the API server listens.
func (p *Plan) APIServer() netip.AddrPort {
	return netip.AddrPortFrom(p.ControlPlane.Addresses[0].Addr(), APIServerPort)
}

// KubernetesServiceIPs are the cluster IPs of the Service "kubernetes": the first of each range.
func (p *Plan) KubernetesServiceIPs() []netip.Addr {
	var ips []netip.Addr
	for _, r := range p.ServiceCIDRs {
		ips = append(ips, r.Addr().Next())
	}
	return ips
}

// InCluster tells whether only a node can reach the address: it is a Pod's or a Service's.
func (p *Plan) InCluster(a netip.Addr) bool {
	for _, r := range p.PodCIDRs {
		if r.Contains(a) {
			return true
		}
	}
	for _, r := range p.ServiceCIDRs {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

func host(name string, number int) Host {
	h := Host{Name: name, Number: number}
	for _, r := range nodeCIDRs {
		h.Addresses = append(h.Addresses, netip.PrefixFrom(hostAddr(r, number), r.Bits()))
	}
	return h
}

// hostAddr numbers a host so that both families read alike: 10.89.0.11 and fd89::11.
func hostAddr(r netip.Prefix, number int) netip.Addr {
	if r.Addr().Is4() {
		a := r.Addr().As4()
		a[3] = byte(number)
		return netip.AddrFrom4(a)
	}
	a := r.Addr().As16()
	a[14], a[15] = byte(number/100), byte(number/10%10<<4|number%10)
	return netip.AddrFrom16(a)
}

// nodePart is the /24 or /64 of node i in a Pod range.
func nodePart(r netip.Prefix, i int) netip.Prefix {
	if r.Addr().Is4() {
		a := r.Addr().As4()
		a[2] = byte(i)
		return netip.PrefixFrom(netip.AddrFrom4(a), 24)
	}
	a := r.Addr().As16()
	a[7] = byte(i)
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}
