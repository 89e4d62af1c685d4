package resource

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/index"
)

func leads(hosts ...string) (out []model.Weighted) {
	for _, h := range hosts {
		out = append(out, model.Weighted{Destination: model.Destination{Host: h, Port: 1}, Weight: 1})
	}
	return out
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// ruledHosts are hosts of which rules say where connections lead; rulesOf are the rules.
func ruledHosts() []*model.MeshHost {
	addr := func(list ...string) (out []netip.Addr) {
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	tcp, tls, auto := model.MeshPort{Port: 5432, Protocol: model.ProtocolTCP}, model.MeshPort{Port: 443, Protocol: model.ProtocolTLS}, model.MeshPort{Port: 9999}
	return []*model.MeshHost{
		{Host: "plain", Addresses: addr("10.96.0.1"), Ports: []model.MeshPort{tcp, tls}},
		{Host: "db", Addresses: addr("10.96.0.2", "fd00::2"), Ports: []model.MeshPort{tcp, auto}, Ruled: true},
		{Host: "near", Addresses: addr("10.96.0.3", "10.96.9.3"), Ports: []model.MeshPort{tcp}, Ruled: true},
		{Host: "names", Addresses: addr("10.96.0.4"), Ports: []model.MeshPort{tls}, Ruled: true},
		{Host: "named", Anywhere: true, Ports: []model.MeshPort{tls, {Port: 7000, Protocol: model.ProtocolTCP}}, Ruled: true},
		{Host: "again", Anywhere: true, Ports: []model.MeshPort{tls, {Port: 7000, Protocol: model.ProtocolTCP}}, Ruled: true},
		{Host: "range", Prefixes: prefixes("192.0.2.0/24"), Anywhere: true, Ports: []model.MeshPort{tcp}, Ruled: true},
		{Host: "headless", Headless: true, Ports: []model.MeshPort{tcp}, Ruled: true},
	}
}

func rulesOf(h *model.MeshHost, port uint16) []model.ConnectionRule {
	switch h.Host {
	case "db":
		return []model.ConnectionRule{{To: leads("v1", "v2")}}
	case "near":
		return []model.ConnectionRule{{Subnets: prefixes("10.0.0.0/8"), To: leads("far")}, {Subnets: prefixes("10.96.9.0/24"), SNI: []string{"x"}, To: leads("close")}, {To: leads("near")}}
	case "names":
		return []model.ConnectionRule{{SNI: []string{"a.example.com", "*.b.example.com"}, To: leads("a")}, {SNI: []string{"a.example.com", "c.example.com"}, To: leads("c")}, {SNI: []string{"no such.name"}, To: leads("c")}}
	case "named", "again":
		if port == 443 {
			return []model.ConnectionRule{{SNI: []string{"example.org", h.Host}, To: leads(h.Host)}}
		}
		return []model.ConnectionRule{{To: leads(h.Host)}}
	case "range":
		return []model.ConnectionRule{{Subnets: prefixes("198.51.100.0/24"), To: leads("out")}, {Subnets: prefixes("192.0.2.0/24")}}
	case "headless":
		return []model.ConnectionRule{{To: leads("v1")}}
	}
	return nil
}

// read reads "5432 10.96.0.2/32 a.example.com -> v1 v2" of the chains of bytes.
func read(t *testing.T, l *listenerv3.Listener) (out []string) {
	t.Helper()
	for _, c := range l.GetFilterChains() {
		var tcp tcpproxyv3.TcpProxy
		if len(c.GetFilterChainMatch().GetApplicationProtocols()) > 0 || c.GetFilters()[0].GetTypedConfig().UnmarshalTo(&tcp) != nil {
			continue
		}
		m := c.GetFilterChainMatch()
		line := []string{fmt.Sprint(m.GetDestinationPort().GetValue())}
		for _, p := range m.GetPrefixRanges() {
			line = append(line, fmt.Sprintf("%s/%d", p.GetAddressPrefix(), p.GetPrefixLen().GetValue()))
		}
		line = append(append(line, m.GetServerNames()...), "->")
		names := []string{tcp.GetCluster()}
		if w := tcp.GetWeightedClusters(); w != nil {
			names = nil
			for _, c := range w.GetClusters() {
				names = append(names, c.GetName())
			}
		}
		for _, n := range names {
			if d, ok := ParseClusterName(n); ok {
				n = d.Host
			}
			line = append(line, n)
		}
		out = append(out, strings.Join(line, " "))
	}
	slices.Sort(out)
	return out
}

// Envoy is told by chains what weft's own proxy is told by rules.
func TestOutboundRules(t *testing.T) {
	l := OutboundListener(ruledHosts(), rulesOf, "", Options{})
	if err := valid(l); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"15001 -> BlackHoleCluster",
		"443 -> PassthroughCluster",
		"443 10.96.0.1/32 -> plain",
		"443 10.96.0.4/32 a.example.com *.b.example.com -> a",
		"443 10.96.0.4/32 c.example.com -> c",
		"443 again -> again",
		"443 example.org named -> named",
		"5432 -> PassthroughCluster",
		"5432 10.96.0.1/32 -> plain",
		"5432 10.96.0.2/32 fd00::2/128 -> v1 v2",
		"5432 10.96.0.3/32 -> far",
		"5432 10.96.9.3/32 -> near",
		"5432 10.96.9.3/32 x -> close",
		"5432 192.0.2.0/24 -> BlackHoleCluster",
		"5432 198.51.100.0/24 -> out",
		"7000 -> named",
		"9999 -> PassthroughCluster",
		"9999 10.96.0.2/32 fd00::2/128 -> v1 v2",
	}
	if d := cmp.Diff(want, read(t, l)); d != "" {
		t.Error(d)
	}
}

// Which rule takes a connection is the same in the model, by which it is explained, and in the proxy.
func TestRulesAgree(t *testing.T) {
	addresses := []string{"10.0.0.1", "10.1.0.1", "10.1.2.1", "192.0.2.1", "fd00::1"}
	subnets := []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "fd00::/8", "0.0.0.0/0"}
	names := []string{"a.example.com", "*.example.com", "b.a.example.com", "*.a.example.com", "*.com"}
	some := func(of []string) (out []string) {
		for _, s := range of {
			if rand.IntN(3) == 0 {
				out = append(out, s)
			}
		}
		return out
	}
	for range 2000 {
		var rules []model.ConnectionRule
		for i := range rand.IntN(6) {
			rules = append(rules, model.ConnectionRule{Subnets: prefixes(some(subnets)...), SNI: some(names), To: leads(fmt.Sprint("c", i))})
		}
		h := &model.MeshHost{Host: "h", Namespace: "n", Ports: []model.MeshPort{{Port: 1, Protocol: model.ProtocolTCP}}}
		s, err := index.New().SetService("n/h", pack(IndexedHost(h, func(*model.MeshHost, uint16) []model.ConnectionRule { return rules })))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addresses {
			for _, name := range []string{"", "a.example.com", "b.a.example.com", "c.a.example.com", "x.org"} {
				at, want, got := netip.MustParseAddr(a), "", ""
				if r := model.RuleFor(rules, at, name); r != nil {
					want = ClusterName(r.To[0].Destination)
				}
				if r := s.Ports[0].Rules.For(at, name); r != nil {
					got = r.Cluster()
				}
				if got != want {
					t.Fatalf("%v %q of %+v: the proxy says %q, the model %q", at, name, rules, got, want)
				}
			}
		}
	}
}
