package model

import "time"

// DestinationPolicy is how clients should treat the endpoints of a host: a DestinationRule.
type DestinationPolicy struct {
	Host    string // fully qualified, or "*.suffix", in lower case
	Policy  TrafficPolicy
	Ports   []PortPolicy // sorted by port; each replaces Policy as a whole for its port
	Subsets []Subset     // in the declared order; no name twice

	Selector Labels   // the clients it is for; "" is all
	Exported []string // the namespaces whose clients see it: names, or "*"

	Seniority
	Origin Origin
}

// PortPolicy is the policy for one port.
type PortPolicy struct {
	Port   uint16
	Policy TrafficPolicy
}

// Subset is the endpoints with some labels. What its policy does not say is taken from the host's.
type Subset struct {
	Name   string
	Labels Labels
	Policy TrafficPolicy
	Ports  []PortPolicy
	Origin Origin
}

// TrafficPolicy is how a client treats endpoints. A nil part is not said: the more general policy, or else the default, holds.
type TrafficPolicy struct {
	LoadBalancer *LoadBalancer
	Connections  *Connections
	Outlier      *OutlierDetection
	TLS          *ClientTLS
	// ProxyProtocol is the version of the PROXY protocol that connections begin with; 0 is none.
	ProxyProtocol uint8
}

// Over gives the policy with what it does not say taken from another.
func (p TrafficPolicy) Over(base TrafficPolicy) TrafficPolicy {
	if p.LoadBalancer == nil {
		p.LoadBalancer = base.LoadBalancer
	}
	if p.Connections == nil {
		p.Connections = base.Connections
	}
	if p.Outlier == nil {
		p.Outlier = base.Outlier
	}
	if p.TLS == nil {
		p.TLS = base.TLS
	}
	if p.ProxyProtocol == 0 {
		p.ProxyProtocol = base.ProxyProtocol
	}
	return p
}

// Balance is how an endpoint is picked.
type Balance uint8

const (
	// LeastRequest picks of two random endpoints the one with fewer requests under way. It is the default.
	LeastRequest Balance = iota
	// RoundRobin takes one after the other.
	RoundRobin
	// Random picks one.
	Random
	// RingHash keeps what hashes alike together (a ring of hashes).
	RingHash
	// Maglev does the same with a table.
	Maglev
	// Passthrough goes to the address that the client asked for.
	Passthrough
)

// LoadBalancer is how endpoints are picked.
type LoadBalancer struct {
	Balance Balance
	Hash    []HashOn      // for RingHash and Maglev: the first that gives something decides
	MinRing uint64        // smallest ring; 0: the default of 1024
	Table   uint64        // size of Maglev's table, a prime; 0: the default of 65537
	Warmup  time.Duration // a new endpoint gets its full share after this; 0: at once
}

// HashOn is what of a request is hashed: exactly one field is set.
type HashOn struct {
	Header   string
	Cookie   *HashCookie
	SourceIP bool
	Query    string
}

// HashCookie is a cookie that is hashed, and made if it is missing and TTL is not nil.
type HashCookie struct {
	Name, Path string
	TTL        *time.Duration
}

// Connections limits what a client opens. 0 is not limited.
type Connections struct {
	Max            uint32
	ConnectTimeout time.Duration // 0: the default of 10 s
	MaxLifetime    time.Duration
	Idle           time.Duration // 0: the default of 1 h
	KeepaliveTime  time.Duration // TCP; 0: off
	KeepaliveEvery time.Duration
	KeepaliveCount uint32

	MaxPending        uint32 // requests that wait for a connection
	MaxRequests       uint32
	MaxRequestsPerTCP uint32
	MaxRetries        uint32
	HTTP2             HTTP2Use
}

// HTTP2Use is which version of HTTP is spoken to endpoints.
type HTTP2Use uint8

const (
	// HTTP2AsDeclared: HTTP/2 if the port's protocol says so (http2, grpc, kubernetes.io/h2c), else HTTP/1.1.
	HTTP2AsDeclared HTTP2Use = iota
	// HTTP2Always speaks HTTP/2.
	HTTP2Always
	// HTTP2Never speaks HTTP/1.1 where the protocol is not declared.
	HTTP2Never
	// HTTP2AsClient speaks what the client speaks.
	HTTP2AsClient
)

// OutlierDetection takes endpoints out that fail.
type OutlierDetection struct {
	Consecutive5xx     *uint32 // in a row; 0 turns it off; nil: the default of 5
	ConsecutiveGateway *uint32 // 502, 503, 504 and connection failures; nil: off
	ConsecutiveLocal   *uint32 // connection failures, if SplitLocal
	SplitLocal         bool
	Interval           time.Duration // between looks; 0: 10 s
	BaseEjection       time.Duration // times how often it was out; 0: 30 s
	MaxEjected         uint32        // per cent; 0: the default of 10
	MinHealthy         uint32        // per cent: below it, nobody is held out
}

// ClientTLSMode is how a client uses TLS.
type ClientTLSMode uint8

const (
	// TLSDisable speaks plaintext.
	TLSDisable ClientTLSMode = iota
	// TLSSimple verifies the server.
	TLSSimple
	// TLSMutual shows a certificate too.
	TLSMutual
	// TLSMesh shows the mesh's own certificate.
	TLSMesh
)

// ClientTLS is how a client of a host uses TLS.
type ClientTLS struct {
	Mode       ClientTLSMode
	Credential *ObjectName // the Secret with CA (and certificate and key for TLSMutual); no namespace: the client's; nil: the system's CAs
	SNI        string      // "": the host that the request is for
	SANs       []string    // of which the server's certificate must have one; empty: the SNI
	Insecure   bool        // the certificate is not verified
}
