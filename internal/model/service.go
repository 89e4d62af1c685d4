package model

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ServiceName identifies a Service in the cluster.
type ServiceName struct{ Namespace, Name string }

// String reads "namespace/name".
func (n ServiceName) String() string { return n.Namespace + "/" + n.Name }

// Compare orders by namespace, then name.
func (n ServiceName) Compare(o ServiceName) int {
	if c := strings.Compare(n.Namespace, o.Namespace); c != 0 {
		return c
	}
	return strings.Compare(n.Name, o.Name)
}

// Protocol is a transport protocol by its IANA number.
type Protocol uint8

// The transport protocols a Service port can have.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String gives the name Kubernetes uses: "TCP", "UDP", "SCTP".
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	case SCTP:
		return "SCTP"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// MarshalText makes JSON and YAML show the name.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the name back.
func (p *Protocol) UnmarshalText(b []byte) error {
	var ok bool
	if *p, ok = ParseProtocol(string(b)); !ok {
		return fmt.Errorf("unknown protocol %q", b)
	}
	return nil
}

// ParseProtocol reads a Kubernetes protocol name; the empty string is TCP, as in the API.
func ParseProtocol(s string) (Protocol, bool) {
	switch s {
	case "TCP", "":
		return TCP, true
	case "UDP":
		return UDP, true
	case "SCTP":
		return SCTP, true
	}
	return 0, false
}

// ServiceKind is how a Service is reached.
type ServiceKind uint8

const (
	// VIP: the Service has cluster addresses that stand for its endpoints.
	VIP ServiceKind = iota
	// Headless: names resolve to the endpoints themselves.
	Headless
	// External: the name is an alias (CNAME) of another name; nothing is carried.
	External
)

// String names the kind as a person would.
func (k ServiceKind) String() string {
	return [...]string{VIP: "ClusterIP", Headless: "Headless", External: "ExternalName"}[k]
}

// Service is what a name in the cluster stands for. Where it leads is in [Endpoints], so that an endpoint that comes and goes leaves the
// Service equal to itself.
type Service struct {
	Name         ServiceName
	Kind         ServiceKind
	ExternalName string // canonical host name without the final dot; only for External

	// Addresses, each list sorted, both families mixed, all valid and unmapped.
	ClusterIPs      []netip.Addr
	ExternalIPs     []netip.Addr
	LoadBalancerIPs []netip.Addr // those published in status with ipMode VIP (the default)

	Ports []Port // in the declared order

	// AffinityTimeout is how long a client keeps its endpoint (sessionAffinity ClientIP); 0 is no affinity.
	AffinityTimeout time.Duration

	// InternalLocal and ExternalLocal are internalTrafficPolicy and externalTrafficPolicy being Local.
	InternalLocal, ExternalLocal bool

	// HealthCheckNodePort is where nodes tell a load balancer whether they have local endpoints; 0 is none.
	HealthCheckNodePort uint16

	// Restricted limits the load-balancer addresses to clients in SourceRanges. It may be true with no ranges: then nobody may.
	Restricted   bool
	SourceRanges []netip.Prefix

	// PublishNotReady makes endpoints count as ready for DNS even when they are not.
	PublishNotReady bool

	// LoadBalancer is true if the Service asks for an address from outside (type LoadBalancer); LoadBalancerClass says from whom
	// ("" is the default), and RequestedIPs are the addresses it would like, which the field RequestedIn names.
	LoadBalancer      bool
	LoadBalancerClass string
	RequestedIPs      []netip.Addr
	RequestedIn       string

	// IPv4 and IPv6 tell the families the Service is meant to have (spec.ipFamilies).
	IPv4, IPv6 bool

	// Unproxied is true if the Service is labelled as somebody else's to carry (service.kubernetes.io/service-proxy-name) or as headless.
	// It keeps its name in DNS.
	Unproxied bool

	// Lost are the claims on an address or node port that an older Service holds, sorted: nothing is carried there for this one.
	Lost []Claim

	// Selectorless is true if nobody maintains the endpoints but the user.
	Selectorless bool

	Origin Origin
}

// Port is one port of a Service.
type Port struct {
	Name        string
	Protocol    Protocol
	Port        uint16
	NodePort    uint16 // 0 is none
	AppProtocol string
	Target      string // targetPort as declared, number or name, for people to read
	Origin      Origin
}

// Equal tells whether two Services mean the same.
func (s *Service) Equal(o *Service) bool {
	if s == o {
		return true
	}
	if s == nil || o == nil {
		return false
	}
	return s.Name == o.Name && s.Kind == o.Kind && s.ExternalName == o.ExternalName &&
		slices.Equal(s.ClusterIPs, o.ClusterIPs) && slices.Equal(s.ExternalIPs, o.ExternalIPs) && slices.Equal(s.LoadBalancerIPs, o.LoadBalancerIPs) &&
		slices.Equal(s.Ports, o.Ports) && s.AffinityTimeout == o.AffinityTimeout &&
		s.InternalLocal == o.InternalLocal && s.ExternalLocal == o.ExternalLocal && s.HealthCheckNodePort == o.HealthCheckNodePort &&
		s.Restricted == o.Restricted && slices.Equal(s.SourceRanges, o.SourceRanges) && s.PublishNotReady == o.PublishNotReady &&
		s.LoadBalancer == o.LoadBalancer && s.LoadBalancerClass == o.LoadBalancerClass && slices.Equal(s.RequestedIPs, o.RequestedIPs) &&
		s.RequestedIn == o.RequestedIn &&
		s.IPv4 == o.IPv4 && s.IPv6 == o.IPv6 && s.Selectorless == o.Selectorless && s.Unproxied == o.Unproxied &&
		slices.Equal(s.Lost, o.Lost) && s.Origin == o.Origin
}
