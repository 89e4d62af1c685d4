package compose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// names reads what is resolved for a destination: "host:port*weight", or "no cluster".
func (w *meshWorld) names(host string, port uint16, subset string) string {
	c := w.e.Clusters.Read(ClusterKey{From: "shop", Destination: model.Destination{Host: host, Port: port, Subset: subset}})
	if c == nil {
		return "no cluster"
	}
	if !c.ByDNS {
		return "not by DNS"
	}
	var out []string
	for _, n := range c.Names {
		one := fmt.Sprintf("%s:%d", n.Host, n.Port)
		if n.Weight != 0 {
			one += fmt.Sprintf("*%d", n.Weight)
		}
		out = append(out, one)
	}
	return strings.Join(out, " ")
}

// workloads declares endpoints that selectors pick, all of the namespace shop.
func (w *meshWorld) workloads(list ...*model.EntryEndpoint) {
	w.e.o.Workloads = func(_ *derive.Reader, namespace string, selector model.Labels) []*model.EntryEndpoint {
		if namespace != "shop" || selector == "" {
			return nil
		}
		return slices.DeleteFunc(slices.Clone(list), func(e *model.EntryEndpoint) bool { return !e.Labels.Match(selector) })
	}
}

func (w *meshWorld) policy(p *model.DestinationPolicy) {
	w.commit(func(tx *store.Tx) { w.policies.Put(tx, p) })
}

// What is resolved is each endpoint that is declared or selected, at its own port; without any it is the host, at the port's target.
func TestEntriesFoundByDNS(t *testing.T) {
	ports := []model.EntryPort{{Name: "http", Port: 80, Target: 8080, Protocol: "HTTP"}, {Name: "https", Port: 443, Protocol: "TLS"}}
	address := netip.MustParseAddr
	ep := func(host string, weight uint32, labels model.Labels, ports ...model.EntryTarget) model.EntryEndpoint {
		e := model.EntryEndpoint{Ports: ports, Labels: labels, Weight: weight}
		if a, err := netip.ParseAddr(host); err == nil {
			e.Addr = a
		} else {
			e.Host = host
		}
		return e
	}
	for _, c := range []struct {
		name        string
		endpoints   []model.EntryEndpoint
		selector    model.Labels
		http, https string
		v1          string // the subset, at port 80
		any         string // a subset without labels
	}{
		{"the host itself", nil, "", "api.test:8080", "api.test:443", "", "api.test:8080"},
		{"names with ports of their own", []model.EntryEndpoint{
			ep("us.test", 0, "version=v1", model.EntryTarget{Name: "https", Port: 9443}), ep("uk.test", 3, "version=v2", model.EntryTarget{Name: "http", Port: 9080}), ep("192.0.2.1", 2, "version=v1"),
		}, "", "192.0.2.1:8080*2 uk.test:9080*3 us.test:8080", "192.0.2.1:443*2 uk.test:443*3 us.test:9443", "192.0.2.1:8080*2 us.test:8080", "192.0.2.1:8080*2 uk.test:9080*3 us.test:8080"},
		{"addresses alone, and twice", []model.EntryEndpoint{ep("192.0.2.1", 0, ""), ep("2001:db8::1", 0, ""), ep("192.0.2.1", 0, "")}, "", "192.0.2.1:8080 2001:db8::1:8080", "192.0.2.1:443 2001:db8::1:443", "", "192.0.2.1:8080 2001:db8::1:8080"},
		{"those that are selected", nil, "app=vm", "192.0.2.9:8080 vm.test:9080*5", "192.0.2.9:443 vm.test:443*5", "vm.test:9080*5", "192.0.2.9:8080 vm.test:9080*5"},
		{"none that is selected", nil, "app=nobody", "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newMeshWorld(t)
			w.workloads(
				&model.EntryEndpoint{Host: "vm.test", Labels: "app=vm,version=v1", Weight: 5, Ports: []model.EntryTarget{{Name: "http", Port: 9080}}},
				&model.EntryEndpoint{Addr: address("192.0.2.9"), Labels: "app=vm"}, &model.EntryEndpoint{Host: "other.test", Labels: "app=other"})
			w.entry(&model.HostEntry{Hosts: []string{"api.test"}, Resolution: model.ResolveDNS, Ports: ports, Endpoints: c.endpoints, Selector: c.selector, Exported: []string{"*"}, Origin: object("ServiceEntry", "e")})
			w.policy(&model.DestinationPolicy{Host: "api.test", Subsets: []model.Subset{{Name: "v1", Labels: "version=v1"}, {Name: "any"}}})
			for _, x := range []struct {
				port         uint16
				subset, want string
			}{{80, "", c.http}, {443, "", c.https}, {80, "v1", c.v1}, {80, "any", c.any}, {81, "", "no cluster"}, {80, "v9", "no cluster"}} {
				if got := w.names("api.test", x.port, x.subset); got != x.want {
					t.Errorf("%d %s: %q, want %q", x.port, x.subset, got, x.want)
				}
			}
			if eps := w.e.Endpoints.Read(ClusterKey{From: "shop", Destination: model.Destination{Host: "api.test", Port: 80}}); eps != nil {
				t.Errorf("endpoints too: %+v", eps)
			}
		})
	}
}

// Istio's example of egress with TLS: clients speak HTTP to port 80, and the proxy speaks TLS to port 443.
func TestTLSFromPlaintextByDNS(t *testing.T) {
	w := newMeshWorld(t)
	w.entry(&model.HostEntry{Hosts: []string{"edition.cnn.com"}, Resolution: model.ResolveDNS, Exported: []string{"*"}, Origin: object("ServiceEntry", "cnn"), Ports: []model.EntryPort{
		{Name: "http-port", Port: 80, Target: 443, Protocol: "HTTP"}, {Name: "https-port", Port: 443, Protocol: "HTTPS"},
	}})
	w.policy(&model.DestinationPolicy{Host: "edition.cnn.com", Ports: []model.PortPolicy{{Port: 80, Policy: model.TrafficPolicy{TLS: &model.ClientTLS{Mode: model.TLSSimple}}}}})
	c := w.e.Clusters.Read(ClusterKey{From: "shop", Destination: model.Destination{Host: "edition.cnn.com", Port: 80}})
	if c.Policy.TLS == nil || c.Policy.TLS.Mode != model.TLSSimple || !slices.Equal(c.Names, []model.NamedEndpoint{{Host: "edition.cnn.com", Port: 443}}) {
		t.Errorf("%+v", c)
	}
}

// Where a client's own address is used, what the rule for the host says of connections holds all the same.
func TestPolicyOfEntriesWithoutResolution(t *testing.T) {
	w := newMeshWorld(t)
	w.entry(&model.HostEntry{Hosts: []string{"*.api.test"}, Resolution: model.ResolveNone, Exported: []string{"*"}, Origin: object("ServiceEntry", "e"), Ports: []model.EntryPort{{Name: "http", Port: 80}}})
	w.policy(&model.DestinationPolicy{Host: "*.api.test", Origin: object("DestinationRule", "e"), Subsets: []model.Subset{{Name: "plain", Policy: model.TrafficPolicy{TLS: &model.ClientTLS{}}}},
		Policy: model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{Balance: model.RoundRobin}, TLS: &model.ClientTLS{Mode: model.TLSSimple}}})
	for subset, want := range map[string]model.ClientTLSMode{"": model.TLSSimple, "plain": model.TLSDisable} {
		c := w.e.Clusters.Read(ClusterKey{From: "shop", Destination: model.Destination{Host: "*.api.test", Port: 80, Subset: subset}})
		if c.Policy.LoadBalancer.Balance != model.Passthrough || c.Policy.TLS.Mode != want {
			t.Errorf("subset %q: %+v", subset, c.Policy)
		}
	}
	if c := w.e.Clusters.Read(ClusterKey{From: "shop", Destination: model.Destination{Host: "*.api.test", Port: 80, Subset: "none"}}); c != nil {
		t.Errorf("a subset that is not there: %+v", c)
	}
}

// Shares of endpoints that are declared get to those that carry them, of ServiceEntries and of Services.
func TestWeightsOfEndpoints(t *testing.T) {
	w := newMeshWorld(t)
	w.workloads(&model.EntryEndpoint{Addr: netip.MustParseAddr("192.0.2.9"), Labels: "app=web", Weight: 7},
		&model.EntryEndpoint{Host: "vm.test", Labels: "app=web", Origin: object("WorkloadEntry", "vm")})
	w.entry(&model.HostEntry{Hosts: []string{"api.test"}, Resolution: model.ResolveStatic, Exported: []string{"*"}, Origin: object("ServiceEntry", "e"), Ports: []model.EntryPort{{Name: "http", Port: 80}},
		Endpoints: []model.EntryEndpoint{{Addr: netip.MustParseAddr("192.0.2.1"), Weight: 3}, {Addr: netip.MustParseAddr("192.0.2.2")}}})
	w.service("web")
	for host, want := range map[string]string{"api.test": "192.0.2.1:80*3 192.0.2.2:80*0", "web.shop.svc.cluster.local": "192.0.2.9:80*7"} {
		var got []string
		for _, e := range w.e.Endpoints.Read(ClusterKey{From: "shop", Destination: model.Destination{Host: host, Port: 80}}).Endpoints {
			got = append(got, fmt.Sprintf("%v*%d", e.AddrPort, e.Weight))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %q, want %q", host, s, want)
		}
	}
	w.wantFindings("warning WorkloadEntry shop/vm: Service shop/web needs addresses, and vm.test is a name; it is left out there")
}

// Who a server may be is said by the rule for the host, or else by who declares it; by the mesh's TLS it may be whom its endpoints belong to, too.
func TestNamesOfServers(t *testing.T) {
	w := newMeshWorld(t)
	w.workloads(&model.EntryEndpoint{Addr: netip.MustParseAddr("192.0.2.9"), Labels: "app=vm", ServiceAccount: "vm", Origin: object("WorkloadEntry", "vm")})
	w.entry(&model.HostEntry{Hosts: []string{"api.test"}, Resolution: model.ResolveStatic, SANs: []string{"spiffe://declared"}, Selector: "app=vm", Exported: []string{"*"},
		Origin: object("ServiceEntry", "e"), Ports: []model.EntryPort{{Name: "http", Port: 80}}})
	for _, c := range []struct {
		tls  model.ClientTLS
		want string
	}{
		{model.ClientTLS{Mode: model.TLSSimple}, "spiffe://declared"},
		{model.ClientTLS{Mode: model.TLSSimple, SANs: []string{"own"}}, "own"},
		{model.ClientTLS{Mode: model.TLSSimple, Insecure: true}, ""},
		{model.ClientTLS{Mode: model.TLSMesh}, "spiffe://cluster.local/ns/shop/sa/vm spiffe://declared"},
		{model.ClientTLS{}, ""},
	} {
		w.policy(&model.DestinationPolicy{Host: "api.test", Policy: model.TrafficPolicy{TLS: &c.tls}})
		got := w.e.Clusters.Read(ClusterKey{From: "shop", Destination: model.Destination{Host: "api.test", Port: 80}}).Policy.TLS
		if s := strings.Join(got.SANs, " "); s != c.want || got.Mode != c.tls.Mode {
			t.Errorf("%+v: %q, want %q", c.tls, s, c.want)
		}
	}
}
