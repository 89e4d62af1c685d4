package resource

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/model"
)

const (
	tlsTransport = "tls"
	rawTransport = "raw_buffer"
)

// Listener says a port of a fleet; nil if it is not listened on.
func Listener(fleet model.Fleet, l *model.Listener, o Options) (*listenerv3.Listener, []Problem) {
	port := l.Port
	if o.Bind != nil {
		port = o.Bind(port)
	}
	if port == 0 {
		return nil, nil
	}
	out := &listenerv3.Listener{
		Name: ListenerName(l.Port), TrafficDirection: corev3.TrafficDirection_OUTBOUND, Metadata: metadata(l.Origin),
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: cmp.Or(o.Address, "::"), Ipv4Compat: o.Address == "" || o.Address == "::", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
		}}},
	}
	c := chains{fleet: fleet, listener: out, o: o, taken: map[string]bool{}, guard: &l.Guard}
	for i := range l.Chains {
		c.mixed = c.mixed || l.Chains[i].Encrypted != l.Chains[0].Encrypted
	}
	for i := range l.Chains {
		c.add(&l.Chains[i])
	}
	if len(out.FilterChains) == 0 {
		return nil, c.problems
	}
	if c.inspect {
		out.ListenerFilters = []*listenerv3.ListenerFilter{{
			Name:       "envoy.filters.listener.tls_inspector",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&tlsinspectorv3.TlsInspector{})},
		}}
	}
	if err := valid(out); err != nil {
		return nil, append(c.problems, Problem{l.Origin, fmt.Sprintf("port %d is left out: %v", l.Port, err)})
	}
	return out, c.problems
}

// chains gathers a listener's filter chains.
type chains struct {
	fleet    model.Fleet
	listener *listenerv3.Listener
	o        Options
	guard    *model.Guard
	mixed    bool            // some connections begin with TLS, others do not
	inspect  bool            // how a connection begins decides
	taken    map[string]bool // what a chain matches already: Envoy rejects a listener in which two match the same
	problems []Problem
}

func (c *chains) add(ch *model.Chain) {
	say := func(format string, args ...any) {
		c.problems = append(c.problems, Problem{ch.Origin, fmt.Sprintf(format, args...)})
	}
	match := &listenerv3.FilterChainMatch{}
	switch {
	case c.mixed && ch.Encrypted:
		match.TransportProtocol = tlsTransport
	case c.mixed:
		match.TransportProtocol = rawTransport
	}
	for _, name := range ch.SNI {
		if !sayableSNI(name) {
			say("server name %q cannot be said to a proxy", name)
		} else if c.taken[match.TransportProtocol+" "+name] {
			say("server name %q is another chain's already", name)
		} else {
			match.ServerNames = append(match.ServerNames, name)
		}
	}
	if len(ch.SNI) == 0 && c.taken[match.TransportProtocol+" "] {
		say("left out: another chain takes all connections of the port")
		return
	}
	if len(ch.SNI) > 0 && len(match.ServerNames) == 0 {
		return
	}
	out := &listenerv3.FilterChain{Name: utf8(ch.Name), Metadata: metadata(ch.Origin)}
	if len(match.ServerNames) > 0 || match.TransportProtocol != "" {
		out.FilterChainMatch = match
	}
	if ch.TLS != nil {
		if len(ch.TLS.Credentials) == 0 {
			say("left out: TLS is to be terminated, and no certificate is named")
			return
		}
		out.TransportSocket = transportSocket(serverTLS(c.fleet.Namespace, ch))
	}
	if ch.Table != "" {
		out.Filters = []*listenerv3.Filter{httpFilter(c.listener.Name, ch, c.guard, c.o)}
	} else {
		f, err := tcpFilter(ch, c.o)
		if err != nil {
			say("left out: %v", err)
			return
		}
		out.Filters = append(PoliciesTCP(c.guard), f)
	}
	if err := valid(out); err != nil {
		say("left out: %v", err)
		return
	}
	for _, name := range match.ServerNames {
		c.taken[match.TransportProtocol+" "+name] = true
	}
	if len(match.ServerNames) == 0 {
		c.taken[match.TransportProtocol+" "] = true
	}
	c.inspect = c.inspect || out.FilterChainMatch != nil
	c.listener.FilterChains = append(c.listener.FilterChains, out)
}

// sayableSNI tells whether Envoy takes a name to compare SNI with: no lone star, and a star only in front.
func sayableSNI(name string) bool {
	rest := strings.TrimPrefix(name, "*.")
	return sayableDomain(rest) && !strings.Contains(rest, "*")
}

func transportSocket(name string, config *anypb.Any) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: name, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: config}}
}

// tcpWeights are the destinations that get a share.
func tcpWeights(to []model.Weighted) []model.Weighted {
	if len(to) == 1 {
		return to
	}
	return slices.DeleteFunc(slices.Clone(to), func(d model.Weighted) bool { return d.Weight == 0 })
}
