package listen

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// Match is which connections a chain serves (FilterChainMatch). What is empty does not matter.
type Match struct {
	Port        uint16         // where the connection went
	Prefixes    []netip.Prefix // one of which has that address
	ServerNames []string       // in lower case; "*.x" is every name below x
	Transport   string         // "tls" or "raw_buffer"
	ALPN        []string       // of a ClientHello, or http/1.0, http/1.1 and h2c of HTTP in the clear
}

// NewMatch reads a FilterChainMatch; nil matches everything.
func NewMatch(m *listenerv3.FilterChainMatch) (Match, error) {
	if m == nil {
		return Match{}, nil
	}
	if err := field.Only(m, "destination_port", "prefix_ranges", "server_names", "transport_protocol", "application_protocols"); err != nil {
		return Match{}, err
	}
	if p := m.GetDestinationPort(); p != nil && (p.GetValue() == 0 || p.GetValue() > 65535) {
		return Match{}, field.Errorf("destination_port", "%d is no port", p.GetValue())
	}
	out := Match{Port: uint16(m.GetDestinationPort().GetValue()), Transport: m.GetTransportProtocol(), ALPN: m.GetApplicationProtocols()}
	for i, r := range m.GetPrefixRanges() {
		p, err := newPrefix(r)
		if err != nil {
			return out, field.At("prefix_ranges", i, err)
		}
		out.Prefixes = append(out.Prefixes, p)
	}
	for i, name := range m.GetServerNames() {
		name = strings.ToLower(name)
		if name == "*" || name == "" {
			return out, field.At("server_names", i, errors.New("a name that matches everything is written by leaving it out"))
		}
		if rest := strings.TrimPrefix(name, "*."); strings.Contains(rest, "*") {
			return out, field.At("server_names", i, fmt.Errorf("%q: an asterisk stands for the first label only", name))
		}
		out.ServerNames = append(out.ServerNames, name)
	}
	return out, nil
}

func newPrefix(r *corev3.CidrRange) (netip.Prefix, error) {
	ip, err := netip.ParseAddr(r.GetAddressPrefix())
	if err != nil {
		return netip.Prefix{}, field.In("address_prefix", err)
	}
	p, err := ip.Unmap().WithZone("").Prefix(int(r.GetPrefixLen().GetValue()))
	return p, field.In("prefix_len", err)
}
