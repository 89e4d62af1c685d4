package resource

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// maxBody is the longest direct response that a proxy may be asked to give; Envoy wants to know, and takes 4 KiB otherwise.
const maxBody = 1 << 20

// VirtualHost says the routes for some domains. It is nil if the host has no domain that can be said.
func VirtualHost(h *model.VirtualHost, policies Policies) (*routev3.VirtualHost, []Problem) {
	var problems []Problem
	out := &routev3.VirtualHost{Name: utf8(h.Name), Metadata: metadata(h.Origin)}
	for _, d := range h.Domains {
		if sayableDomain(d) {
			out.Domains = append(out.Domains, d)
		} else {
			problems = append(problems, Problem{h.Origin, fmt.Sprintf("host %q cannot be said to a proxy", d)})
		}
	}
	if len(out.Domains) == 0 {
		return nil, problems
	}
	if h.RedirectHTTPS {
		out.RequireTls = routev3.VirtualHost_ALL
	}
	for i := range h.Routes {
		r := &h.Routes[i]
		say := func(err error) { problems = append(problems, Problem{r.Origin, err.Error()}) }
		if r.Respond != nil && len(r.Respond.Body) > maxBody {
			say(fmt.Errorf("the body of the answer has %d bytes, and %d can be answered", len(r.Respond.Body), maxBody))
			r = &model.Route{Name: r.Name, Matches: r.Matches, Origin: r.Origin}
		}
		out.Routes = append(out.Routes, route(r, policies, say)...)
	}
	if err := valid(out); err != nil {
		problems = append(problems, Problem{h.Origin, "left out: " + err.Error()})
		return nil, problems
	}
	return out, problems
}

// sayableDomain tells whether a name is one that a header can have.
func sayableDomain(d string) bool {
	for i := range len(d) {
		if d[i] <= ' ' || d[i] >= 0x7f {
			return false
		}
	}
	return d != ""
}

// hostsField is the number of virtual_hosts in a RouteConfiguration.
const hostsField = 2

// RouteTable puts a RouteConfiguration together from virtual hosts that are marshalled already: in protobuf's encoding, the elements of a list may
// stand one after the other anywhere. So one host that changes costs its own marshalling and a copy of the rest.
func RouteTable(name string, hosts [][]byte) []byte {
	head := Marshal(&routev3.RouteConfiguration{
		Name: utf8(name), ValidateClusters: wrapperspb.Bool(false), IgnorePortInHostMatching: true, MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(maxBody),
	})
	size := len(head)
	for _, h := range hosts {
		size += protowire.SizeTag(hostsField) + protowire.SizeBytes(len(h))
	}
	out := append(make([]byte, 0, size), head...)
	for _, h := range hosts {
		out = protowire.AppendTag(out, hostsField, protowire.BytesType)
		out = protowire.AppendBytes(out, h)
	}
	return out
}
