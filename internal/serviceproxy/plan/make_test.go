package plan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/model"
)

var name = model.ServiceName{Namespace: "shop", Name: "web"}

func addrs(s ...string) (out []netip.Addr) {
	for _, x := range s {
		out = append(out, netip.MustParseAddr(x))
	}
	return out
}

// endpoint reads "10.244.1.1:80 node1 ready" with any of ready, serving, terminating, and hints as "NODES/ZONES".
func endpoints(list ...string) *model.Endpoints {
	pe := model.PortEndpoints{Port: "http", Protocol: model.TCP}
	for _, s := range list {
		f := strings.Fields(s)
		e := model.Endpoint{AddrPort: netip.MustParseAddrPort(f[0]), Node: f[1]}
		for _, c := range f[2:] {
			switch c {
			case "ready":
				e.Ready, e.Serving = true, true
			case "serving":
				e.Serving = true
			case "terminating":
				e.Terminating = true
			default:
				nodes, zones, _ := strings.Cut(c, "/") // "n1,n2/z1"
				e.HintNodes, e.HintZones = nodes, zones
			}
		}
		pe.Endpoints = append(pe.Endpoints, e)
	}
	return &model.Endpoints{Service: name, Ports: []model.PortEndpoints{pe}}
}

// show writes a plan as lines: "kind family address:port -> endpoints [| local: endpoints]".
func show(s *Service) (out []string) {
	set := func(list []netip.AddrPort, empty Verdict) string {
		if len(list) == 0 {
			return map[Verdict]string{Reject: "reject", Drop: "drop"}[empty]
		}
		return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(list), "["), "]")
	}
	if s == nil {
		return nil
	}
	for _, f := range s.Frontends {
		l := fmt.Sprintf("%v v%d %v %d -> %s", f.Kind, f.Family, f.Addr, f.Key.Port, set(f.Endpoints, f.OnEmpty))
		if f.ExternalLocal {
			l += " | local: " + set(f.Local, f.OnEmptyLocal)
		}
		out = append(out, l)
	}
	return out
}

func TestOf(t *testing.T) {
	base := func(edit func(*model.Service)) *model.Service {
		s := &model.Service{Name: name, ClusterIPs: addrs("10.96.0.7"), Ports: []model.Port{{Name: "http", Protocol: model.TCP, Port: 80}}}
		edit(s)
		return s
	}
	plain := func(*model.Service) {}
	internalLocal := func(s *model.Service) { s.InternalLocal = true }
	nodePortLocal := func(s *model.Service) { s.ExternalLocal = true; s.Ports[0].NodePort = 30080 }
	for _, c := range []struct {
		name string
		svc  *model.Service
		eps  *model.Endpoints
		want []string
	}{
		{"ready endpoints only", base(plain), endpoints("10.244.1.1:8080 n1 ready", "10.244.1.2:8080 n1 serving terminating", "10.244.1.3:8080 n1"),
			[]string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080"}},
		{"terminating as last resort", base(plain), endpoints("10.244.1.2:8080 n1 serving terminating", "10.244.1.3:8080 n1 terminating", "10.244.1.4:8080 n1 serving"),
			[]string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.2:8080"}},
		{"none", base(plain), nil, []string{"ClusterIP v4 10.96.0.7 80 -> reject"}},
		{"each family its own", base(func(s *model.Service) { s.ClusterIPs = addrs("10.96.0.7", "fd96::7") }), endpoints("10.244.1.1:8080 n1 ready", "[fd44::1]:8080 n1 ready"),
			[]string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080", "ClusterIP v6 fd96::7 80 -> [fd44::1]:8080"}},
		{"internal policy Local", base(internalLocal), endpoints("10.244.1.1:8080 n1 ready", "10.244.2.1:8080 n2 ready"),
			[]string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080"}},
		{"internal policy Local, only elsewhere", base(internalLocal), endpoints("10.244.2.1:8080 n2 ready"), []string{"ClusterIP v4 10.96.0.7 80 -> drop"}},
		{"internal policy Local, nowhere", base(internalLocal), nil, []string{"ClusterIP v4 10.96.0.7 80 -> reject"}},
		{"external policy Local", base(nodePortLocal), endpoints("10.244.1.1:8080 n1 ready", "10.244.2.1:8080 n2 ready"),
			[]string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080 10.244.2.1:8080", "NodePort v4 invalid IP 30080 -> 10.244.1.1:8080 10.244.2.1:8080 | local: 10.244.1.1:8080"}},
		{"external policy Local, local ones terminate", base(nodePortLocal), endpoints("10.244.1.1:8080 n1 serving terminating", "10.244.2.1:8080 n2 ready"),
			[]string{"ClusterIP v4 10.96.0.7 80 -> 10.244.2.1:8080", "NodePort v4 invalid IP 30080 -> 10.244.2.1:8080 | local: 10.244.1.1:8080"}},
		{"external policy Local, only elsewhere", base(nodePortLocal), endpoints("10.244.2.1:8080 n2 ready"),
			[]string{"ClusterIP v4 10.96.0.7 80 -> 10.244.2.1:8080", "NodePort v4 invalid IP 30080 -> 10.244.2.1:8080 | local: drop"}},
		{"external and load-balancer addresses", base(func(s *model.Service) {
			s.ExternalIPs, s.LoadBalancerIPs = addrs("198.51.100.10"), addrs("10.89.0.200")
		}), endpoints("10.244.1.1:8080 n1 ready"),
			[]string{"LoadBalancer v4 10.89.0.200 80 -> 10.244.1.1:8080", "ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080", "ExternalIP v4 198.51.100.10 80 -> 10.244.1.1:8080"}},
		{"an external address that is the load balancer's too", base(func(s *model.Service) {
			s.ExternalIPs, s.LoadBalancerIPs = addrs("10.89.0.200"), addrs("10.89.0.200")
		}), endpoints("10.244.1.1:8080 n1 ready"),
			[]string{"LoadBalancer v4 10.89.0.200 80 -> 10.244.1.1:8080", "ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080"}},
		{"what another holds is left out", base(func(s *model.Service) {
			s.ExternalIPs, s.Ports[0].NodePort = addrs("198.51.100.10", "198.51.100.11"), 30080
			s.Lost = []model.Claim{{Protocol: model.TCP, Port: 30080}, {Addr: netip.MustParseAddr("198.51.100.10"), Protocol: model.TCP, Port: 80}}
		}), endpoints("10.244.1.1:8080 n1 ready"),
			[]string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080", "ExternalIP v4 198.51.100.11 80 -> 10.244.1.1:8080"}},
		{"hinted for this zone", base(plain), endpoints("10.244.1.1:8080 n2 ready /z1,z2", "10.244.1.2:8080 n2 ready /z2"), []string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080"}},
		{"hinted for this node before this zone", base(plain), endpoints("10.244.1.1:8080 n2 ready n2/z1", "10.244.1.2:8080 n1 ready n1/z1"), []string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.2:8080"}},
		{"hinted for this zone, though for other nodes", base(plain), endpoints("10.244.1.1:8080 n2 ready n2/z1", "10.244.1.2:8080 n3 ready n3/z2"), []string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080"}},
		{"one without a hint", base(plain), endpoints("10.244.1.1:8080 n2 ready /z1", "10.244.1.2:8080 n2 ready"), []string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080 10.244.1.2:8080"}},
		{"none hinted for here", base(plain), endpoints("10.244.1.1:8080 n2 ready /z2", "10.244.1.2:8080 n2 ready /z3"), []string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080 10.244.1.2:8080"}},
		{"hints of those that are not ready do not count", base(plain), endpoints("10.244.1.1:8080 n2 ready /z1", "10.244.1.2:8080 n2"), []string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080"}},
		{"hints do not bind policy Local", base(internalLocal), endpoints("10.244.1.1:8080 n1 ready /z2", "10.244.1.2:8080 n2 ready /z1"), []string{"ClusterIP v4 10.96.0.7 80 -> 10.244.1.1:8080"}},
		{"headless", base(func(s *model.Service) { s.Kind = model.Headless }), endpoints("10.244.1.1:8080 n1 ready"), nil},
		{"somebody else's", base(func(s *model.Service) { s.Unproxied = true }), endpoints("10.244.1.1:8080 n1 ready"), nil},
		{"port 0 is no endpoint", base(plain), endpoints("10.244.1.1:0 n1 ready"), []string{"ClusterIP v4 10.96.0.7 80 -> reject"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, show(Of(c.svc, c.eps, Here{Node: "n1", Zone: "z1"}))); d != "" {
				t.Error("(-want +got)\n" + d)
			}
		})
	}
}

// Flows of UDP may go on to every endpoint that serves, whatever new flows are kept from.
func TestServing(t *testing.T) {
	svc := &model.Service{Name: name, ClusterIPs: addrs("10.96.0.7"), Ports: []model.Port{{Name: "http", Protocol: model.UDP, Port: 80}}}
	eps := endpoints("10.244.1.1:80 n1 ready /z1", "10.244.1.2:80 n1 serving terminating", "10.244.1.3:80 n1", "10.244.1.4:80 n2 ready /z2")
	eps.Ports[0].Protocol = model.UDP
	here := Here{Node: "n1", Zone: "z1"}
	f := Of(svc, eps, here).Frontends[0]
	if got := fmt.Sprint(f.Endpoints, f.Serving); got != "[10.244.1.1:80] [10.244.1.1:80 10.244.1.2:80 10.244.1.4:80]" {
		t.Error(got)
	}
	svc.Ports[0].Protocol, eps.Ports[0].Protocol = model.TCP, model.TCP
	if f := Of(svc, eps, here).Frontends[0]; f.Serving != nil {
		t.Errorf("TCP: %v", f.Serving)
	}
}

func TestSourceRanges(t *testing.T) {
	svc := &model.Service{Name: name, LoadBalancerIPs: addrs("10.89.0.200", "fd89::200"), Ports: []model.Port{{Name: "http", Protocol: model.TCP, Port: 80}},
		Restricted: true, SourceRanges: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	got := Of(svc, nil, Here{Node: "n1"}).Frontends
	if len(got[0].SourceRanges) != 1 {
		t.Errorf("IPv4: %v", got[0].SourceRanges)
	}
	if r := got[1].SourceRanges; r == nil || len(r) != 0 {
		t.Errorf("IPv6 must let nobody in, has %v", r)
	}
	svc.Restricted = false
	svc.SourceRanges = nil
	if r := Of(svc, nil, Here{Node: "n1"}).Frontends[0].SourceRanges; r != nil {
		t.Errorf("unrestricted: %v", r)
	}
}

func TestHealthCheckCountsReadyLocalAddressesOnce(t *testing.T) {
	svc := &model.Service{Name: name, HealthCheckNodePort: 31000}
	eps := endpoints("10.244.1.1:8080 n1 ready", "10.244.1.1:9090 n1 ready", "10.244.1.2:8080 n1", "10.244.2.1:8080 n2 ready")
	if got := Of(svc, eps, Here{Node: "n1"}).HealthCheck; got != (HealthCheck{31000, 1}) {
		t.Errorf("%+v", got)
	}
}

func TestEqual(t *testing.T) {
	svc := &model.Service{Name: name, ClusterIPs: addrs("10.96.0.7"), Ports: []model.Port{{Name: "http", Protocol: model.TCP, Port: 80}}}
	a, b := Of(svc, endpoints("10.244.1.1:8080 n1 ready"), Here{Node: "n1"}), Of(svc, endpoints("10.244.1.1:8080 n1 ready"), Here{Node: "n1"})
	if !a.Equal(b) {
		t.Error("made the same twice, and not equal")
	}
	if a.Equal(Of(svc, endpoints("10.244.1.2:8080 n1 ready"), Here{Node: "n1"})) {
		t.Error("equal with another endpoint")
	}
}
