package behaviour

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// cases is the table. Anything a kernel rule does has a case here that fails without it.
var cases = slices.Concat(reaching, outsideTraffic, sticking, nothingThere, changing)

var reaching = []testCase{
	{name: "a cluster address leads a Pod to an endpoint over TCP and UDP, which sees the Pod", run: func(s *scene) {
		s.carry(
			s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...),
			udp(s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 2)...)),
		)
		if a := s.reach(s.client, at(s.vip(10), 80)); a.server != "web-1" || a.port != 8080 {
			s.Errorf("TCP answered by %+v", a)
		} else {
			s.seen(a, s.of(clientPod))
		}
		if a := s.reachBy(model.UDP, s.client, netip.Addr{}, at(s.vip(10), 80)); a.server != "web-2" || a.port != 8080 {
			s.Errorf("UDP answered by %+v", a)
		} else {
			s.seen(a, s.of(clientPod))
		}
	}},
	{name: "a cluster address leads an SCTP association to an endpoint", run: func(s *scene) {
		f := s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...)
		f.Protocol = model.SCTP
		s.carry(f)
		s.sctpArrives(at(s.vip(10), 80), s.web[0], 8080)
	}},
	{name: "a cluster address leads the node itself to an endpoint", run: func(s *scene) {
		s.carry(
			s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...),
			udp(s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...)),
		)
		s.reach(s.node, at(s.vip(10), 80))
		s.reachBy(model.UDP, s.node, netip.Addr{}, at(s.vip(10), 80))
	}},
	{name: "a cluster address leads a machine outside to an endpoint, masqueraded", run: func(s *scene) {
		s.carry(s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...))
		s.notSeen(s.reach(s.outside, at(s.vip(10), 80)), s.of(outsider))
	}},
	{name: "each port of an address leads to its own endpoints", run: func(s *scene) {
		s.carry(
			s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...),
			s.frontend(plan.ClusterIP, s.vip(10), 81, s.webs(8081, 1)...),
			s.frontend(plan.ClusterIP, s.vip(11), 80, s.webs(8080, 2)...),
		)
		for to, want := range map[netip.AddrPort]answer{
			at(s.vip(10), 80): {server: "web-1", port: 8080},
			at(s.vip(10), 81): {server: "web-1", port: 8081},
			at(s.vip(11), 80): {server: "web-2", port: 8080},
		} {
			if a := s.reach(s.client, to); a.server != want.server || a.port != want.port {
				s.Errorf("%s answered by %+v, want %+v", to, a, want)
			}
		}
	}},
	{name: "connections spread evenly over the endpoints, on every sort of address", run: func(s *scene) {
		all := s.webs(8080, 1, 2, 3)
		local := s.frontend(plan.LoadBalancerIP, s.external(1), 80, all...)
		nplocal := s.frontend(plan.NodePort, netip.Addr{}, 30081, all...)
		for _, f := range [...]*plan.Frontend{local, nplocal} {
			f.ExternalLocal, f.Local = true, all
		}
		s.carry(s.frontend(plan.ClusterIP, s.vip(10), 80, all...), s.frontend(plan.NodePort, netip.Addr{}, 30080, all...), local, nplocal)
		for _, to := range [...]netip.AddrPort{
			at(s.vip(10), 80), at(s.of(nodeAddress), 30080), at(s.external(1), 80), at(s.of(nodeAddress), 30081),
		} {
			// With 150 of probability 1/3 each, fewer than 25 has a chance of one in ten million.
			count := s.servers(150, model.TCP, s.outside, to)
			for _, web := range s.web {
				if count[web.Name] < 25 {
					s.Errorf("%s spread %v", to, count)
					break
				}
			}
		}
	}},
	{name: "an endpoint reaches itself through its Service, masqueraded", run: func(s *scene) {
		s.carry(s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...))
		s.notSeen(s.reach(s.web[0], at(s.vip(10), 80)), webAddresses[0].of(s.family))
	}},
	{name: "a node port leads outside, a Pod and the node itself to an endpoint", run: func(s *scene) {
		s.carry(
			s.frontend(plan.NodePort, netip.Addr{}, 30080, s.webs(8080, 1)...),
			udp(s.frontend(plan.NodePort, netip.Addr{}, 30080, s.webs(8080, 1)...)),
		)
		for _, a := range [...]addresses{nodeAddress, nodeSecond, gateway} {
			for _, p := range [...]model.Protocol{model.TCP, model.UDP} {
				for _, from := range [...]*NetNS{s.client, s.node, s.outside} {
					s.reachBy(p, from, netip.Addr{}, at(s.of(a), 30080))
				}
			}
		}
	}},
	{name: "a node port is masqueraded, for Pods too, because a Pod's own node does not see the replies", run: func(s *scene) {
		s.carry(s.frontend(plan.NodePort, netip.Addr{}, 30080, s.webs(8080, 1)...))
		s.notSeen(s.reach(s.outside, at(s.of(nodeAddress), 30080)), s.of(outsider))
		s.notSeen(s.reach(s.client, at(s.of(nodeAddress), 30080)), s.of(clientPod))
	}},
	{name: "a node port is not on loopback", run: func(s *scene) {
		s.carry(s.frontend(plan.NodePort, netip.Addr{}, 30080, s.webs(8080, 1)...))
		s.refuses(s.node, at(both("127.0.0.1", "::1").of(s.family), 30080))
	}},
	{
		name: "node ports are only on the addresses they are limited to",
		configure: func(cfg *plan.Config, f plan.Family) {
			cfg.NodePortAddresses = []netip.Prefix{host(nodeSecond.of(f)), netip.PrefixFrom(gateway.of(f), gateway.of(f).BitLen()-1).Masked()}
		},
		run: func(s *scene) {
			s.carry(s.frontend(plan.NodePort, netip.Addr{}, 30080, s.webs(8080, 1)...), s.frontend(plan.NodePort, netip.Addr{}, 30081))
			s.reach(s.outside, at(s.of(nodeSecond), 30080))
			s.reach(s.client, at(s.of(gateway), 30080))
			s.refuses(s.outside, at(s.of(nodeSecond), 30081))
			s.refuses(s.outside, at(s.of(nodeAddress), 30080)) // by the node itself, on which nobody listens
		},
	},
	{name: "external and load-balancer addresses lead outside, masqueraded, and Pods, as they are, to an endpoint", run: func(s *scene) {
		s.carry(
			s.frontend(plan.ExternalIP, s.external(1), 80, s.webs(8080, 1)...),
			s.frontend(plan.LoadBalancerIP, s.external(2), 80, s.webs(8080, 2)...),
		)
		for n, server := range map[int]string{1: "web-1", 2: "web-2"} {
			a := s.reach(s.outside, at(s.external(n), 80))
			s.notSeen(a, s.of(outsider))
			if a.server != server {
				s.Errorf("%s answered", a.server)
			}
			s.seen(s.reach(s.client, at(s.external(n), 80)), s.of(clientPod))
			s.reach(s.node, at(s.external(n), 80))
		}
	}},
	{name: "an external address may be the node's own, whose other ports stay the node's", run: func(s *scene) {
		s.carry(s.frontend(plan.ExternalIP, s.of(nodeAddress), 80, s.webs(8080, 1)...), s.frontend(plan.ExternalIP, s.of(nodeAddress), 8023))
		if a := s.reach(s.outside, at(s.of(nodeAddress), 80)); a.server != "web-1" {
			s.Errorf("%s answered", a.server)
		}
		if a := s.reach(s.outside, at(s.of(nodeAddress), 8022)); a.server != "node" {
			s.Errorf("%s answered", a.server)
		}
		s.refuses(s.outside, at(s.of(nodeAddress), 8023)) // although somebody listens
	}},
	{name: "an external address may be another machine's, whose other ports stay that machine's", run: func(s *scene) {
		s.carry(s.frontend(plan.ExternalIP, s.of(outsider), 80, s.webs(8080, 1)...), s.frontend(plan.LoadBalancerIP, s.of(outsiderToo), 80, s.webs(8080, 2)...))
		for _, from := range [...]*NetNS{s.client, s.node} {
			for to, server := range map[netip.Addr]string{s.of(outsider): "web-1", s.of(outsiderToo): "web-2"} {
				if a := s.reach(from, at(to, 80)); a.server != server {
					s.Errorf("%s answered", a.server)
				}
				if a := s.reach(from, at(to, 8022)); a.server != "outside" {
					s.Errorf("%s answered", a.server)
				}
			}
		}
	}},
	{name: "a reply that conntrack does not recognise does not reach a client under the endpoint's own address", run: func(s *scene) {
		s.carry(s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...))
		s.strayReplyIsDropped(at(s.vip(10), 80), s.web[0], at(webAddresses[0].of(s.family), 8080))
	}},
}

var outsideTraffic = []testCase{
	{name: "local external traffic goes to endpoints of this node only, which see the client", run: func(s *scene) {
		lb := s.frontend(plan.LoadBalancerIP, s.external(1), 80, s.webs(8080, 1, 2, 3)...)
		np := s.frontend(plan.NodePort, netip.Addr{}, 30080, s.webs(8080, 1, 2, 3)...)
		for _, f := range [...]*plan.Frontend{lb, np} {
			f.ExternalLocal, f.Local = true, s.webs(8080, 2)
		}
		s.carry(lb, np)
		for _, to := range [...]netip.AddrPort{at(s.external(1), 80), at(s.of(nodeAddress), 30080)} {
			for range 10 {
				a := s.reachBy(model.TCP, s.outside, s.of(outsider), to)
				s.seen(a, s.of(outsider))
				if a.server != "web-2" {
					s.Errorf("%s answered at %s", a.server, to)
				}
			}
		}
	}},
	{name: "local external traffic does not limit Pods and the node itself", run: func(s *scene) {
		lb := s.frontend(plan.LoadBalancerIP, s.external(1), 80, s.webs(8080, 1)...)
		np := s.frontend(plan.NodePort, netip.Addr{}, 30080, s.webs(8080, 1)...)
		for _, f := range [...]*plan.Frontend{lb, np} {
			f.ExternalLocal, f.OnEmptyLocal = true, plan.Drop
		}
		s.carry(lb, np)
		for _, to := range [...]netip.AddrPort{at(s.external(1), 80), at(s.of(nodeAddress), 30080)} {
			s.reach(s.client, to)
			s.reach(s.node, to)
			s.expect(silent, model.TCP, s.outside, netip.Addr{}, to)
		}
	}},
	{name: "local external traffic without any endpoint is refused, Pods are carried all the same", run: func(s *scene) {
		lb := s.frontend(plan.LoadBalancerIP, s.external(1), 80, s.webs(8080, 1)...)
		np := s.frontend(plan.NodePort, netip.Addr{}, 30080, s.webs(8080, 1)...)
		for _, f := range [...]*plan.Frontend{lb, np} {
			f.ExternalLocal, f.OnEmptyLocal = true, plan.Reject
		}
		s.carry(lb, np)
		for _, to := range [...]netip.AddrPort{at(s.external(1), 80), at(s.of(nodeAddress), 30080)} {
			s.refuses(s.outside, to)
			s.reach(s.client, to)
		}
	}},
	{name: "source ranges let their clients pass and nobody else", run: func(s *scene) {
		limited := s.frontend(plan.LoadBalancerIP, s.external(1), 80, s.webs(8080, 1)...)
		elsewhere := netip.MustParsePrefix(map[plan.Family]string{plan.IPv4: "198.18.0.0/15", plan.IPv6: "2001:db8:9::/48"}[s.family])
		limited.SourceRanges = []netip.Prefix{host(s.of(outsider)), host(s.of(outsider)), elsewhere} // twice the same, on purpose
		local := s.frontend(plan.LoadBalancerIP, s.external(2), 80, s.webs(8080, 1)...)
		local.SourceRanges, local.ExternalLocal, local.Local = limited.SourceRanges, true, local.Endpoints
		nobody := s.frontend(plan.LoadBalancerIP, s.external(3), 80, s.webs(8080, 1)...)
		nobody.SourceRanges = []netip.Prefix{}
		open := s.frontend(plan.LoadBalancerIP, s.external(1), 81, s.webs(8080, 1)...)
		s.carry(limited, local, nobody, open)
		for n := range 2 {
			s.expect(answered, model.TCP, s.outside, s.of(outsider), at(s.external(n+1), 80))
			s.expect(silent, model.TCP, s.outside, s.of(outsiderToo), at(s.external(n+1), 80))
			s.expect(silent, model.TCP, s.client, netip.Addr{}, at(s.external(n+1), 80))
			s.expect(silent, model.TCP, s.node, s.of(gateway), at(s.external(n+1), 80))
		}
		s.expect(silent, model.TCP, s.outside, s.of(outsider), at(s.external(3), 80))
		s.expect(answered, model.TCP, s.outside, s.of(outsiderToo), at(s.external(1), 81))
	}},
	{name: "source ranges can change", run: func(s *scene) {
		f := s.frontend(plan.LoadBalancerIP, s.external(1), 80, s.webs(8080, 1)...)
		s.carry(f)
		for _, allowed := range [...][]netip.Prefix{
			{everything(s.family)}, {everything(s.family), host(s.of(outsiderToo))}, {host(s.of(outsiderToo))}, nil,
		} {
			g := *f
			g.SourceRanges = allowed
			s.apply(&plan.Diff{Set: []*plan.Frontend{&g}})
			want := silent
			if len(allowed) == 0 || allowed[0].Contains(s.of(outsider)) {
				want = answered
			}
			s.expect(want, model.TCP, s.outside, s.of(outsider), at(s.external(1), 80))
			s.expect(answered, model.TCP, s.outside, s.of(outsiderToo), at(s.external(1), 80))
		}
	}},
}

var sticking = []testCase{
	{name: "a client with affinity keeps its endpoint, on every sort of address", run: func(s *scene) {
		vip := s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1, 2, 3)...)
		dns := udp(s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1, 2, 3)...))
		np := s.frontend(plan.NodePort, netip.Addr{}, 30080, s.webs(8080, 1, 2, 3)...)
		local := s.frontend(plan.LoadBalancerIP, s.external(1), 80, s.webs(8080, 1, 2, 3)...)
		local.ExternalLocal, local.Local = true, s.webs(8080, 1, 2, 3)
		nplocal := s.frontend(plan.NodePort, netip.Addr{}, 30081, s.webs(8080, 1, 2, 3)...)
		nplocal.ExternalLocal, nplocal.Local = true, s.webs(8080, 1, 2, 3)
		for _, f := range [...]*plan.Frontend{vip, dns, np, local, nplocal} {
			f.Affinity = 3 * time.Hour
		}
		s.carry(vip, dns, np, local, nplocal)
		for _, c := range [...]struct {
			p    model.Protocol
			from *NetNS
			to   netip.AddrPort
		}{
			{model.TCP, s.client, at(s.vip(10), 80)},
			{model.UDP, s.client, at(s.vip(10), 80)},
			{model.TCP, s.outside, at(s.of(nodeAddress), 30080)},
			{model.TCP, s.outside, at(s.external(1), 80)},
			{model.TCP, s.outside, at(s.of(nodeAddress), 30081)},
		} {
			if count := s.servers(15, c.p, c.from, c.to); len(count) != 1 {
				s.Errorf("%s from %s to %s answered by %v", c.p, c.from.Name, c.to, count)
			}
		}
		s.notSeen(s.reach(s.outside, at(s.of(nodeAddress), 30080)), s.of(outsider))
	}},
	{name: "clients with affinity still spread", run: func(s *scene) {
		// The same client counts as another one for every frontend.
		var all []*plan.Frontend
		for port := range uint16(40) {
			f := s.frontend(plan.ClusterIP, s.vip(10), 8000+port, s.webs(8080, 1, 2, 3)...)
			f.Affinity = time.Hour
			all = append(all, f)
		}
		s.carry(all...)
		count := map[string]int{}
		for _, f := range all {
			count[s.reach(s.client, at(f.Addr, f.Key.Port)).server]++
		}
		if len(count) != 3 {
			s.Errorf("answered by %v", count)
		}
	}},
	{name: "an affinity ends when it was not used for its time", run: func(s *scene) {
		f := s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1, 2, 3)...)
		f.Affinity = time.Second
		s.carry(f)
		first := s.reach(s.client, at(s.vip(10), 80)).server
		s.eventually("another endpoint answers", 1200*time.Millisecond, func() bool {
			return s.reach(s.client, at(s.vip(10), 80)).server != first
		})
	}},
	{name: "a client whose endpoint goes finds another, and keeps that", run: func(s *scene) {
		f := s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1, 2, 3)...)
		f.Affinity = time.Hour
		s.carry(f)
		first := s.reach(s.client, at(s.vip(10), 80)).server
		g := *f
		g.Endpoints = slices.DeleteFunc(s.webs(8080, 1, 2, 3), func(ep netip.AddrPort) bool {
			n := slices.IndexFunc(webAddresses[:], func(a addresses) bool { return a.of(s.family) == ep.Addr() })
			return s.web[n].Name == first
		})
		s.apply(&plan.Diff{Set: []*plan.Frontend{&g}})
		count := s.servers(15, model.TCP, s.client, at(s.vip(10), 80))
		if count[first] != 0 || len(count) != 1 {
			s.Errorf("%s was first, then %v", first, count)
		}
	}},
}

var nothingThere = []testCase{
	{name: "a frontend without endpoints refuses at once", run: func(s *scene) {
		s.carry(
			s.frontend(plan.ClusterIP, s.vip(10), 80), udp(s.frontend(plan.ClusterIP, s.vip(10), 80)),
			s.frontend(plan.ExternalIP, s.external(1), 80),
			s.frontend(plan.NodePort, netip.Addr{}, 30080), udp(s.frontend(plan.NodePort, netip.Addr{}, 30080)),
		)
		for _, from := range [...]*NetNS{s.client, s.node, s.outside} {
			s.refuses(from, at(s.vip(10), 80))
			s.refuses(from, at(s.external(1), 80))
			s.refuses(from, at(s.of(nodeAddress), 30080))
			s.expect(refused, model.UDP, from, netip.Addr{}, at(s.vip(10), 80))
			s.expect(refused, model.UDP, from, netip.Addr{}, at(s.of(nodeAddress), 30080))
		}
	}},
	{name: "a node port without endpoints refuses even where somebody listens, but not on loopback", run: func(s *scene) {
		s.carry(s.frontend(plan.NodePort, netip.Addr{}, 8022))
		s.refuses(s.outside, at(s.of(nodeAddress), 8022))
		s.refuses(s.node, at(s.of(nodeAddress), 8022))
		s.reach(s.node, at(both("127.0.0.1", "::1").of(s.family), 8022))
	}},
	{name: "an endpoint on the node itself is reached, although the node port of the same number has none", run: func(s *scene) {
		s.carry(s.frontend(plan.ClusterIP, s.vip(10), 80, at(s.of(nodeAddress), 8022)), s.frontend(plan.NodePort, netip.Addr{}, 8022))
		s.reach(s.client, at(s.vip(10), 80))
		s.reach(s.node, at(s.vip(10), 80))
	}},
	{name: "TCP is refused with a reset", run: func(s *scene) {
		s.carry(s.frontend(plan.ClusterIP, s.vip(10), 80))
		in := s.raw(s.client, "6")
		s.refuses(s.client, at(s.vip(10), 80))
		s.resetArrives(in, at(s.vip(10), 80))
	}},
	{name: "a frontend without endpoints here, but elsewhere, stays silent", run: func(s *scene) {
		f := s.frontend(plan.ClusterIP, s.vip(10), 80)
		f.OnEmpty = plan.Drop
		s.carry(f)
		for _, from := range [...]*NetNS{s.client, s.node} {
			s.expect(silent, model.TCP, from, netip.Addr{}, at(s.vip(10), 80))
		}
	}},
	{name: "a port that an address does not have is refused", run: func(s *scene) {
		s.carry(s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...), s.frontend(plan.LoadBalancerIP, s.external(1), 80, s.webs(8080, 1)...))
		for _, from := range [...]*NetNS{s.client, s.node, s.outside} {
			s.refuses(from, at(s.vip(10), 8080))
			s.refuses(from, at(s.external(1), 8080))
			s.expect(refused, model.UDP, from, netip.Addr{}, at(s.vip(10), 80))
		}
	}},
	{name: "an address of the Service range that nobody has is refused", run: func(s *scene) {
		s.carry(s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...))
		for _, from := range [...]*NetNS{s.client, s.node} {
			s.refuses(from, at(s.vip(99), 80))
		}
	}},
	{name: "other traffic passes", run: func(s *scene) {
		s.carry(s.frontend(plan.ClusterIP, s.vip(10), 80, s.webs(8080, 1)...))
		s.seen(s.reach(s.outside, at(webAddresses[0].of(s.family), 8080)), s.of(outsider))
		s.seen(s.reach(s.client, at(webAddresses[0].of(s.family), 8080)), s.of(clientPod))
		s.reach(s.node, at(webAddresses[0].of(s.family), 8080))
		s.reach(s.outside, at(s.of(nodeAddress), 8022))
	}},
}
