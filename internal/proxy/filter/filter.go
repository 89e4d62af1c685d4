// Package filter says what an HTTP filter is: what it is given, what it may do, and which there are.
//
// A filter sees the head of a request and may answer it instead of letting it go on, may change it, and may hold it up; and it sees the head of the
// response, whoever made it. Each filter is a folder below this one, with the same parts: a policy compiled from its part of a resource (New), Request
// and Response on it, the package's comment as its documentation, and tests. This package knows none of them but by name, and package chain puts
// them in order.
package filter

import (
	"context"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/stats"
)

// Exchange is what a filter gets of the exchange.
type Exchange interface {
	// Info is what is known of it. A filter may change the heads and set flags.
	Info() *message.Info
	// Wait holds the exchange up for a time. It is false when the client went meanwhile or the exchange ran out of time: then nobody wants an
	// answer any more, and the filter returns at once.
	Wait(time.Duration) bool
}

// Env is what the filters of a proxy share. Nothing in it changes.
type Env struct {
	// Stats is where filters count; nil counts nowhere.
	Stats *stats.Registry
	// Fetch gets what filters need beside their configuration; nil fetches nothing.
	Fetch Fetch
}

// Fetch gets the body of a resource (GET) through a cluster. ctx limits it.
type Fetch func(ctx context.Context, cluster, uri string) ([]byte, error)

// Reply is an answer that a filter gives in the upstream's place. Response is the exchange's own, empty when the filter begins; Body stays the filter's.
type Reply struct {
	Response *message.Response
	Body     []byte
	Details  string // for message.Info.Details
	// GRPCStatus is what gRPC clients are to see; 0 is the one that stands for Response.Status.
	GRPCStatus int
}

// Policy is a filter as configured for a route. Request and Response are called by many exchanges at a time.
type Policy interface {
	// Request sees the head of a request. It is true when the filter filled in the reply, and the request goes no further.
	Request(Exchange, *Reply) bool
	// Response sees the head of a response that came from upstream, from the router or from a filter.
	Response(Exchange, *message.Response)
}

// Refinement is a policy of a route that only says something about the listener's.
type Refinement interface {
	// Refine is Request with the listener's policy, nil if there is none. Response of neither is called.
	Refine(listener Policy, x Exchange, reply *Reply) bool
}

// Inheritor is a policy of which each part that is not set comes from the policy around it. Others hold as a whole.
type Inheritor interface {
	Inherit(outer Policy) Policy
}

// Kind is a filter by name.
type Kind uint8

// The filters there are. Their order here means nothing: requests pass them as the listener's configuration lists them.
const (
	CORS Kind = iota
	Fault
	RBAC
	JWT
	// Kinds is how many there are.
	Kinds
)

// String is the name that Envoy knows the filter by.
func (k Kind) String() string {
	return [...]string{CORS: "envoy.filters.http.cors", Fault: "envoy.filters.http.fault", RBAC: "envoy.filters.http.rbac", JWT: "envoy.filters.http.jwt_authn"}[k]
}

// Setting is what a route says of a filter; the zero value is nothing.
type Setting struct {
	Policy   Policy
	Disabled bool // the filter is not to run, whatever the listener configures for it
}

// Settings is what a route says of each filter.
type Settings [Kinds]Setting

// Over gives s, with what it does not say taken from the less specific one.
func (s Settings) Over(outer Settings) Settings {
	for k := range s {
		if inner, ok := s[k].Policy.(Inheritor); ok && outer[k].Policy != nil {
			s[k].Policy = inner.Inherit(outer[k].Policy)
		}
		if s[k] == (Setting{}) {
			s[k] = outer[k]
		}
	}
	return s
}
