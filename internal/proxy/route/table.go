package route

import (
	"time"

	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/match"
)

// Table is a compiled RouteConfiguration. It never changes, and any number of exchanges use it at a time.
type Table struct {
	Name         string
	VirtualHosts []*VirtualHost // as the resource lists them

	hosts      hostIndex
	ignorePort bool

	// Of a table that was made by Revise: the bytes around the virtual hosts, and the virtual hosts by their bytes.
	around   string
	compiled map[string]*VirtualHost
}

// VirtualHost is a set of names and the routes below them.
type VirtualHost struct {
	Name    string
	Domains []string
	Origin  string
	Routes  []*Route // as the resource lists them: the first that matches wins

	// AttemptCount asks for x-envoy-attempt-count in requests to upstream; ResponseAttemptCount for the same in responses.
	AttemptCount, ResponseAttemptCount bool

	paths    pathIndex
	tls      tlsRequirement
	redirect *Route // what answers a request that ought to have come by TLS
}

// Route is one rule. Exactly one of Forward, Redirect and Direct is set.
type Route struct {
	Name        string
	VirtualHost *VirtualHost
	Index       int    // place in VirtualHost.Routes
	Origin      string // the rule that it was made from: metadata "weft", key "origin"
	Operation   string // what to call a span of this route (decorator), "" if nothing is said

	Forward  *Forward
	Redirect *Redirect
	Direct   *Direct

	// Filters is what the route, its virtual host and the table say of each filter, the most specific first. A destination may say more: see
	// Destination.Filters.
	Filters filter.Settings

	match    condition
	response headerOps // for Redirect and Direct; with Forward each destination has its own
}

// Forward sends requests to clusters.
type Forward struct {
	Destinations   []*Destination
	NotFoundStatus int // the answer when the cluster is not known: 503, 404 or 500

	Timeout           time.Duration // from the request's last byte to the response's; 0 is none. Envoy's default, 15 s, is filled in
	IdleTimeout       time.Duration // overrides the listener's stream_idle_timeout if HasIdleTimeout; 0 is none
	HasIdleTimeout    bool
	MaxStreamDuration time.Duration // 0 is none
	// GRPCTimeout says that a grpc-timeout header limits the exchange, to GRPCTimeoutMax if that is not 0, less GRPCTimeoutOffset.
	GRPCTimeout                       bool
	GRPCTimeoutMax, GRPCTimeoutOffset time.Duration

	Retry        *Retry // nil: never
	Mirrors      []Mirror
	HighPriority bool // which circuit breakers count

	// AutoHost asks for the endpoint's hostname as authority, once an endpoint is chosen: see SetAuthority.
	AutoHost            bool
	AppendForwardedHost bool // x-forwarded-host gets the authority that a rewrite replaces

	total    uint64
	hashes   []hashPolicy
	upgrades map[string]bool
	weighBy  string // the header whose number chooses among weights; "" is chance
	rewrite  rewrite
	byHash   bool // the hash chooses
}

// Destination is a cluster that a route sends to, or part of the requests.
type Destination struct {
	// Cluster is its name, or "" if a header of the request tells: ClusterOf gives it in both cases.
	Cluster string
	Weight  uint32
	// Filters is the route's, with what is said for this destination before it.
	Filters filter.Settings

	clusterHeader string
	host          string // host_rewrite_literal of the weighted cluster
	request       headerOps
	response      headerOps
}

// Mirror is a cluster that gets a copy of requests, whose response nobody reads.
type Mirror struct {
	// Cluster is its name, or "" if a header of the request tells: ClusterOf gives it in both cases.
	Cluster string
	// ShadowHost asks for "-shadow" behind the host name of the authority.
	ShadowHost bool
	Host       string // the copy's authority, "" to leave it

	clusterHeader string
	fraction      match.Fraction
}

// Retry is when and how often a request is sent again.
type Retry struct {
	On            RetryOn
	Retries       int           // at most, beside the first attempt
	PerTry        time.Duration // limit for one attempt; 0: none but the route's
	Statuses      []int         // for RetriableStatusCodes
	BackOff       time.Duration
	MaxBackOff    time.Duration
	PreviousHosts bool // another endpoint than those that failed, if one is found within HostAttempts choices
	HostAttempts  int

	headers        []match.Header // of responses, for RetriableHeaders
	requestHeaders []match.Header // only requests with one of these, unless empty
}

// Redirect answers with another address.
type Redirect struct {
	Status int // 301, 302, 303, 307 or 308

	scheme, host, port, path string
	pathHasQuery, stripQuery bool
	rewrite                  rewrite
}

// Direct answers without asking anybody.
type Direct struct {
	Status int
	Body   []byte
}

// Cookie is a cookie for the response, by which later requests of the client find the same endpoint.
type Cookie struct {
	Name, Value, Path string
	TTL               time.Duration // 0: until the browser closes
	Attributes        []string      // as "SameSite=Lax"
}
