package model

import (
	"net/netip"
	"time"
)

// RouteSet is routes for some hosts, bound to some gateways: a VirtualService, or what an Ingress says of one host.
type RouteSet struct {
	Hosts    []string      // names, "*.suffix" or "*", in lower case
	Gateways []GatewayName // where the routes hold; kind [Mesh] is the sidecars

	HTTP []Route   // the first that matches wins, in this order; see Longest
	TLS  []L4Route // by SNI, for TLS that is not terminated
	TCP  []L4Route

	// Longest says that routes are not in an order that somebody wrote, but compete with those of other such sets for the same host: an exact path
	// goes before a prefix, the longer before the shorter.
	Longest bool

	// Exported are the namespaces whose proxies see the set: names, or "*".
	Exported []string

	Seniority
	Origin Origin
}

// Route is one HTTP rule: what it takes, what it does with it.
type Route struct {
	Name    string
	Matches []Match // one of them must hold; none: everything matches

	// Exactly one of these says what happens: To is not empty, or one of the others is set. All unset: the rule is broken, and answers 500.
	To       []Weighted
	Redirect *Redirect
	Respond  *DirectResponse

	Rewrite  *Rewrite
	Timeout  time.Duration // of the whole exchange with retries; 0: none
	Idle     time.Duration // how long nothing may come from either side; 0: the default of the proxy that carries it
	Retry    *Retry        // nil: the default of the proxy that carries it
	Fault    *Fault
	CORS     *CORS
	Mirrors  []Mirror
	Request  HeaderOps
	Response HeaderOps

	Origin Origin
}

// Match is conditions that must all hold.
type Match struct {
	Name      string
	Path      PathMatch
	Method    StringMatch
	Scheme    StringMatch
	Authority StringMatch
	Headers   []NamedMatch // names in lower case
	Query     []NamedMatch
	Port      uint16 // the listener's, as declared; 0: any

	// Gateways limits the match to some of the set's gateways; nil: all of them.
	Gateways []GatewayName
	// SourceLabels limits it to sidecars of such Pods, SourceNamespace to the proxies of a namespace.
	SourceLabels    Labels
	SourceNamespace string

	Origin Origin
}

// MatchKind is how a text is compared.
type MatchKind uint8

const (
	// MatchAny holds for everything, also for what is not there.
	MatchAny MatchKind = iota
	// MatchExact compares the whole text.
	MatchExact
	// MatchPrefix compares the beginning, byte by byte.
	MatchPrefix
	// MatchRegex must match the whole text (RE2).
	MatchRegex
	// MatchPresent holds if the thing is there at all.
	MatchPresent
	// MatchSegments compares the beginning of a path by whole segments: /a matches /a and /a/b, not /ab.
	MatchSegments
)

// String names the kind as explanations do.
func (k MatchKind) String() string {
	return [...]string{MatchAny: "any", MatchExact: "exact", MatchPrefix: "prefix", MatchRegex: "regex", MatchPresent: "present", MatchSegments: "path prefix"}[k]
}

// StringMatch is a comparison.
type StringMatch struct {
	Kind       MatchKind
	Value      string
	IgnoreCase bool
}

// PathMatch is a comparison with the path, without the query.
type PathMatch = StringMatch

// NamedMatch is a comparison with a header or a query parameter.
type NamedMatch struct {
	Name string
	StringMatch
	Invert bool // must not hold
}

// Destination is where a rule leads, as declared: a host and one of its ports.
type Destination struct {
	Host     string // fully qualified, in lower case: "web.shop.svc.cluster.local"; "" leads nowhere
	Port     uint16 // 0: the only port, or the one called PortName
	PortName string
	Subset   string // of the DestinationRule for the host; "" is all endpoints
}

// Weighted is a share of a rule's traffic.
type Weighted struct {
	Destination
	Weight   uint32 // its share of the sum of all weights; a rule with one destination gives it everything, also at 0
	Request  HeaderOps
	Response HeaderOps
	Origin   Origin
}

// Mirror sends copies of requests, whose answers nobody waits for.
type Mirror struct {
	Destination
	Share  float64 // of the requests, 0 to 100
	Origin Origin
}

// Redirect answers with another address. Empty fields keep what the request has.
type Redirect struct {
	Status    uint16 // 301, 302, 303, 307 or 308
	Scheme    string
	Authority string
	Port      uint16 // 0: that of the scheme if the scheme changes, else the request's

	// ListenerPort puts the port of the listener, as declared, in place of Port; one that the scheme means anyway is left out.
	ListenerPort bool
	Path         string // replaces the path
	Prefix       string // replaces what the route matched of the path; only if HasPrefix
	HasPrefix    bool
}

// DirectResponse answers without asking anybody.
type DirectResponse struct {
	Status uint16
	Body   string
}

// Rewrite changes the request before it is sent on. Empty fields keep what the request has.
type Rewrite struct {
	Authority string
	// Prefix replaces what the route's prefix matched; for an exact match, the whole path. Only if HasPrefix.
	Prefix    string
	HasPrefix bool
	// Regex and Substitution replace every match in the path.
	Regex, Substitution string
	Path                string // the whole path
}

// HeaderOps changes headers: removals first, then Set, then Add. Names are in lower case.
type HeaderOps struct {
	Remove   []string
	Set, Add []HeaderValue // sorted by name
}

// HeaderValue is a header and its value, in which %PLACEHOLDERS% stand for what Envoy's formatter gives for them.
type HeaderValue struct{ Name, Value string }

// None tells whether nothing is changed.
func (h HeaderOps) None() bool { return len(h.Remove)+len(h.Set)+len(h.Add) == 0 }

// Retry is when a request is sent again.
type Retry struct {
	Attempts    uint32        // how many times beyond the first; 0 turns retries off
	PerTry      time.Duration // limit of each try; 0: none but the route's
	On          string        // conditions as Envoy's x-envoy-retry-on spells them, separated by commas, and status codes; "": RetryOnDefault
	IgnorePrior bool          // a try may go to an endpoint that failed before
	Backoff     time.Duration // before the first retry; 0: the default of 25 ms
}

// RetryOnDefault is when a request is sent again if nobody says: Istio's default.
const RetryOnDefault = "connect-failure,refused-stream,unavailable,cancelled,503"

// Fault is failure on purpose. A share is a percentage, 0 to 100.
type Fault struct {
	Delay      time.Duration
	DelayShare float64

	AbortStatus uint16 // HTTP status; 0 with AbortGRPC set: the gRPC status instead
	AbortGRPC   *uint32
	AbortShare  float64
}

// CORS is the policy of cross-origin requests.
type CORS struct {
	Origins       []StringMatch
	Methods       []string
	Headers       []string
	Expose        []string
	MaxAge        time.Duration // 0: not said
	Credentials   *bool
	ForwardOthers bool // preflights of other origins are sent on instead of answered
}

// L4Route is a rule for connections.
type L4Route struct {
	Matches []L4Match // one of them must hold; none: everything matches
	To      []Weighted
	Origin  Origin
}

// L4Match is conditions on a connection that must all hold.
type L4Match struct {
	SNI             []string       // names or "*.suffix"; empty: any
	Subnets         []netip.Prefix // of where the connection goes; empty: any. Only a sidecar can tell
	Port            uint16         // the listener's; 0: any
	Gateways        []GatewayName
	SourceLabels    Labels
	SourceNamespace string
	Origin          Origin
}
