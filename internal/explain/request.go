package explain

import (
	"github.com/weftmesh/weft/internal/model"
)

// RequestQuestion is an HTTP request to a gateway that somebody wants to understand.
type RequestQuestion struct {
	Method  string
	URL     string              // absolute: its scheme says whether the connection is encrypted, its host is the authority and SNI
	Headers map[string][]string // names in any case; "host" goes before the URL's
	Fleet   model.Fleet
	Port    uint16 // of the listener; 0: that of the URL, or else of its scheme
}

// DecisionKind is what is done with a request.
type DecisionKind string

// What is done with a request.
const (
	Forward  DecisionKind = "forward"  // to one of the destinations, or to nothing: then Status is 503
	Redirect DecisionKind = "redirect" // answered with another address
	Respond  DecisionKind = "respond"  // answered by the gateway
	None     DecisionKind = "none"     // no listener, no chain for the SNI, or the handshake is refused: there is no answer
)

// String reads "GET http://www.example.com/ at weft-system/istio=ingressgateway".
func (q RequestQuestion) String() string { return q.Method + " " + q.URL + " at " + q.Fleet.String() }

// Decision is what a gateway does with a request, for programs. Empty fields mean that nothing is changed or said.
type Decision struct {
	Kind     DecisionKind `json:"kind"`
	Status   int          `json:"status,omitempty"`   // of the answer, if the gateway gives it
	Location string       `json:"location,omitempty"` // of a redirect
	Body     string       `json:"body,omitempty"`

	Rule string `json:"rule,omitempty"` // the origin of the rule that decided
	Name string `json:"name,omitempty"` // its name

	Destinations []DecidedDestination `json:"destinations,omitempty"`
	Mirrors      []DecidedDestination `json:"mirrors,omitempty"` // Weight is the share in per cent

	// Method, Authority and Path (with the query) are as the backend sees them.
	Method    string `json:"method,omitempty"`
	Authority string `json:"authority,omitempty"`
	Path      string `json:"path,omitempty"`

	Request  model.HeaderOps `json:"request,omitzero"`  // done to the request on its way, by the rule
	Response model.HeaderOps `json:"response,omitzero"` // done to the response, by the rule

	Timeout string       `json:"timeout,omitempty"`
	Retry   *model.Retry `json:"retry,omitempty"`
	Fault   *model.Fault `json:"fault,omitempty"`
	CORS    bool         `json:"cors,omitempty"` // the rule has a policy of cross-origin requests

	Judged []JudgedWorkload `json:"judged,omitempty"` // what the workloads behind the destinations make of a request in the mesh
}

// DecidedDestination is a place that requests go to.
type DecidedDestination struct {
	Host      string          `json:"host"`
	Port      uint16          `json:"port"`
	Subset    string          `json:"subset,omitempty"`
	Weight    float64         `json:"weight"` // in per cent
	Exists    bool            `json:"exists"`
	Endpoints []string        `json:"endpoints,omitempty"` // address:port, sorted
	DNS       []string        `json:"dns,omitempty"`       // name:port, sorted: endpoints are the addresses that DNS says
	Request   model.HeaderOps `json:"request,omitzero"`
	Response  model.HeaderOps `json:"response,omitzero"`
}
