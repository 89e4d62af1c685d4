package model

import "time"

// What follows is what the declared gateways and routes come to, once they are put together: what carriers are compiled from.

// Listener is a port that a fleet listens on.
type Listener struct {
	Port   uint16
	Chains []Chain // how its connections are told apart; the most specific SNI wins, whatever the order
	Guard  Guard   // of all of them
	Origin Origin  // of the first Server
}

// Chain is what is done with some of a listener's connections.
type Chain struct {
	Name string   // unique in the listener and stable
	SNI  []string // names or "*.suffix"; empty: whatever the others do not take
	// Encrypted says that these connections begin with TLS: terminated if TLS is set, else only looked at for its SNI.
	Encrypted bool
	TLS       *ServerTLS

	// Table names the RouteTable for HTTP; "" if the connections are carried as bytes, to To.
	Table string
	To    []Weighted

	Origin Origin
}

// RouteTable is the virtual hosts of one or more chains.
type RouteTable struct {
	Name  string
	Hosts []*VirtualHost // sorted by their first domain
}

// VirtualHost is the routes for some domains. What its routes lead to has the number of a port; if nothing is there (no such Service, port or
// subset), there is no [Cluster] for it either, and the request is answered 503.
type VirtualHost struct {
	Name    string   // unique in the table and stable
	Domains []string // names, "*.suffix" or "*"; none in two hosts of one table
	Routes  []Route  // the first that matches wins

	// RedirectHTTPS answers every request that came in plaintext with a redirect to https.
	RedirectHTTPS bool

	Gateways []GatewayName // through which the routes are bound, sorted
	Origin   Origin
}

// Cluster is how the clients of one namespace reach one port of a host, or a subset of it. Where it leads is in [ClusterEndpoints], or is found by DNS.
type Cluster struct {
	Destination // with the port's number
	Policy      TrafficPolicy
	Host        ServiceName // the Service behind it; zero if the host is none of the cluster's
	HTTP2       bool        // endpoints speak HTTP/2 with prior knowledge
	Protocol    AppProtocol // as the port declares it
	Mesh        *MeshTLS    // how those endpoints are spoken to that take the mesh's TLS; nil: none does, or Policy says otherwise
	ByDNS       bool        // endpoints are what DNS says of Names; else they are known
	Names       []NamedEndpoint
	Service     Origin // who declares the host
	Rule        Origin // who declares the policy; zero if nobody does
}

// NamedEndpoint is endpoints of a cluster that is found by DNS: the addresses that a name stands for, or an address that is declared beside names.
type NamedEndpoint struct {
	Host   string
	Port   uint16
	Weight uint32 // of each address; 0: as if it were 1
}

// ClusterEndpoints is where a cluster leads: the endpoints behind its port, of its subset.
type ClusterEndpoints struct {
	Destination
	Endpoints []ClusterEndpoint // sorted by address, then port
}

// ClusterEndpoint is an endpoint as clients see it who look at more than its address.
type ClusterEndpoint struct {
	Endpoint
	MeshTLS bool   // it takes the mesh's TLS
	Owner   Owner  // zero if it is nobody that is known
	Weight  uint32 // its share; 0: as if it were 1
}

// MeshTLS is TLS with the certificates of the mesh.
type MeshTLS struct {
	SNI        string
	Identities []string // SPIFFE IDs, of which the server must have one, sorted
}

// Workload is what runs at an address: a Pod, or a WorkloadEntry.
type Workload struct {
	Name           ObjectName
	Labels         Labels
	ServiceAccount string
	Node           string
	Owner          string // the Deployment or other controller; its own name if there is none
	Injected       bool   // it has a sidecar
	Ports          Labels // the named ports of its containers
	Origin         Origin
}

// Owned says what a workload belongs to, as Istio's metrics name it.
func (w *Workload) Owned() Owner {
	first := func(otherwise string, names ...string) string {
		for _, n := range names {
			if v, ok := w.Labels.Get(n); ok && v != "" {
				return v
			}
		}
		return otherwise
	}
	return Owner{
		Workload: w.Owner, Namespace: w.Name.Namespace,
		Name:     first(w.Owner, "service.istio.io/canonical-name", "app.kubernetes.io/name", "app"),
		Revision: first("latest", "service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"),
	}
}

// Secret is a certificate with its key, or CAs to verify with. It prints without its key.
type Secret struct {
	Name             ObjectName
	Certificate, Key []byte // PEM; both or none
	CA               []byte // PEM
	NotAfter         time.Time
	Origin           Origin
}

// String names the Secret and shows nothing of it.
func (s *Secret) String() string { return "Secret " + s.Name.String() }

// GoString does the same for %#v.
func (s *Secret) GoString() string { return s.String() }
