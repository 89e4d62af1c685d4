package zone

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/weftmesh/weft/internal/dns/wire"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

const domain = "cluster.local"

func newZone(t testing.TB, c Config) *Zone {
	t.Helper()
	z, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// ask puts a question and gives the code and the records, one a line, sorted within their section.
func ask(t testing.TB, z *Zone, name, typ string) (string, Result) {
	t.Helper()
	in := new(dns.Msg)
	in.SetQuestion(dns.Fqdn(name), dns.StringToType[typ])
	packed, err := in.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	if v := q.Parse(packed); v != wire.Answer {
		t.Fatalf("verdict %v", v)
	}
	var m wire.Message
	buf := make([]byte, wire.MaxMessage)
	m.Begin(buf, len(buf), &q, 1232)
	res := z.Answer(&q, &m)
	if !res.Ours {
		return "not ours", res
	}
	out := new(dns.Msg)
	if err := out.Unpack(m.End(res.Code, wire.FlagAA)); err != nil {
		t.Fatalf("%s %s: %v", name, typ, err)
	}
	lines := []string{dns.RcodeToString[out.Rcode]}
	for i, section := range [][]dns.RR{out.Answer, out.Ns, out.Extra} {
		var rrs []string
		for _, rr := range section {
			s := strings.Join(strings.Fields(rr.String()), " ")
			if soa, ok := rr.(*dns.SOA); ok {
				soa.Serial = 1
				s = strings.Join(strings.Fields(rr.String()), " ")
			}
			rrs = append(rrs, []string{"", "authority ", "additional "}[i]+s)
		}
		slices.Sort(rrs)
		lines = append(lines, rrs...)
	}
	return strings.Join(lines, "\n"), res
}

func addrs(list ...string) (as []netip.Addr) {
	for _, s := range list {
		as = append(as, netip.MustParseAddr(s))
	}
	return as
}

func at(addrPort, hostname string, ready bool) model.Endpoint {
	return model.Endpoint{
		AddrPort: netip.MustParseAddrPort(addrPort), Hostname: hostname, Ready: ready, Serving: true,
		Origin: model.Origin{Object: finding.Object{Kind: "EndpointSlice", Namespace: "shop", Name: "slice-1"}, Field: "endpoints[0]"},
	}
}

func origin(name string) model.Origin {
	return model.Origin{Object: finding.Object{Kind: "Service", Namespace: "shop", Name: name}}
}

// publish puts the example cluster into a zone: one Service of each kind.
func publish(z *Zone) {
	set := func(s *model.Service, e *model.Endpoints) {
		s.Name.Namespace = "shop"
		s.Origin = origin(s.Name.Name)
		z.Set(s.Name, RecordsOf(domain, s, e))
	}
	named := func(n string) model.ServiceName { return model.ServiceName{Name: n} }
	ports := []model.Port{{Name: "http", Protocol: model.TCP, Port: 80}, {Name: "dns", Protocol: model.UDP, Port: 53}}
	set(&model.Service{Name: named("web"), ClusterIPs: addrs("10.96.0.10", "fd00:96::10"), Ports: ports}, &model.Endpoints{Ports: []model.PortEndpoints{
		{Port: "http", Protocol: model.TCP, Endpoints: []model.Endpoint{at("10.244.0.1:8080", "", true), at("10.244.0.2:8080", "web-0", true)}},
	}})
	set(&model.Service{Name: named("plain"), ClusterIPs: addrs("10.96.0.11"), Ports: []model.Port{{Protocol: model.TCP, Port: 81}}}, nil)
	set(&model.Service{Name: named("db"), Kind: model.Headless, Ports: ports[:1]}, &model.Endpoints{Ports: []model.PortEndpoints{
		{Port: "http", Protocol: model.TCP, Endpoints: []model.Endpoint{
			at("10.244.1.1:8080", "db-0", true), at("10.244.1.2:8080", "", true), at("10.244.1.3:8080", "db-2", false),
			at("[fd00:244::1]:8080", "db-0", true), at("[fd00:244::2]:8080", "", true),
		}},
	}})
	set(&model.Service{Name: named("early"), Kind: model.Headless, PublishNotReady: true}, &model.Endpoints{Ports: []model.PortEndpoints{
		{Endpoints: []model.Endpoint{at("10.244.2.1:0", "", false)}},
	}})
	set(&model.Service{Name: named("down"), Kind: model.Headless}, &model.Endpoints{Ports: []model.PortEndpoints{
		{Port: "http", Protocol: model.TCP, Endpoints: []model.Endpoint{at("10.244.3.1:8080", "", false)}},
	}})
	set(&model.Service{Name: named("out"), Kind: model.External, ExternalName: "www.example.com"}, nil)
	set(&model.Service{Name: named("in"), Kind: model.External, ExternalName: "web.shop.svc.cluster.local."}, nil)
	set(&model.Service{Name: named("gone"), Kind: model.External, ExternalName: "no.shop.svc.cluster.local"}, nil)
	set(&model.Service{Name: named("loop"), Kind: model.External, ExternalName: "loop.shop.svc.cluster.local"}, nil)
	set(&model.Service{Name: named("number"), Kind: model.External, ExternalName: "192.0.2.1"}, nil)
	z.SetNamespace("bare")
}

// TestSpecification goes through the Kubernetes DNS specification 1.1.0, section by section.
func TestSpecification(t *testing.T) {
	z := newZone(t, Config{Reverse: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}})
	publish(z)
	const (
		soa     = "\nauthority cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"
		noData  = "NOERROR" + soa
		missing = "NXDOMAIN" + soa
	)
	for _, c := range []struct{ section, name, typ, want string }{
		{"2.1 case", "WEB.Shop.sVc.Cluster.LOCAL", "A", "NOERROR\nWEB.Shop.sVc.Cluster.LOCAL. 5 IN A 10.96.0.10"},
		{"2.1 case", "NO.Shop.svc.Cluster.LOCAL", "A", strings.ReplaceAll(missing, "authority cluster.local.", "authority Cluster.LOCAL.")},

		{"2.2", "dns-version.cluster.local", "TXT", "NOERROR\ndns-version.cluster.local. 28800 IN TXT \"1.1.0\""},
		{"2.2", "dns-version.cluster.local", "A", noData},
		{"2.2", "x.dns-version.cluster.local", "TXT", missing},

		{"2.3.1 A", "web.shop.svc.cluster.local", "A", "NOERROR\nweb.shop.svc.cluster.local. 5 IN A 10.96.0.10"},
		{"2.3.1 AAAA", "web.shop.svc.cluster.local", "AAAA", "NOERROR\nweb.shop.svc.cluster.local. 5 IN AAAA fd00:96::10"},
		{"2.3.1 other family", "plain.shop.svc.cluster.local", "AAAA", noData},
		{"2.3.1 other type", "web.shop.svc.cluster.local", "MX", noData},
		{"2.3.1 missing", "no.shop.svc.cluster.local", "A", missing},
		{"2.3.1 missing", "no.shop.svc.cluster.local", "MX", missing},
		{"2.3.1 any", "web.shop.svc.cluster.local", "ANY", "NOERROR\nweb.shop.svc.cluster.local. 5 IN HINFO \"RFC8482\" \"\""},

		{"2.3.2", "_http._tcp.web.shop.svc.cluster.local", "SRV", "NOERROR\n_http._tcp.web.shop.svc.cluster.local. 5 IN SRV 0 100 80 web.shop.svc.cluster.local.\n" +
			"additional web.shop.svc.cluster.local. 5 IN A 10.96.0.10\nadditional web.shop.svc.cluster.local. 5 IN AAAA fd00:96::10"},
		{"2.3.2 udp", "_DNS._UDP.web.shop.svc.cluster.local", "SRV", "NOERROR\n_DNS._UDP.web.shop.svc.cluster.local. 5 IN SRV 0 100 53 web.shop.svc.cluster.local.\n" +
			"additional web.shop.svc.cluster.local. 5 IN A 10.96.0.10\nadditional web.shop.svc.cluster.local. 5 IN AAAA fd00:96::10"},
		{"2.3.2 other protocol", "_http._udp.web.shop.svc.cluster.local", "SRV", missing},
		{"2.3.2 other port", "_https._tcp.web.shop.svc.cluster.local", "SRV", missing},
		{"2.3.2 other type", "_http._tcp.web.shop.svc.cluster.local", "A", noData},
		{"2.3.2 between", "_tcp.web.shop.svc.cluster.local", "SRV", noData},
		{"2.3.2 between", "_sctp.web.shop.svc.cluster.local", "SRV", missing},
		{"2.3.2 unnamed", "_._tcp.plain.shop.svc.cluster.local", "SRV", missing},
		{"2.3.2 unnamed", "_tcp.plain.shop.svc.cluster.local", "SRV", missing},
		{"2.3.2 of the Service", "plain.shop.svc.cluster.local", "SRV", "NOERROR\nplain.shop.svc.cluster.local. 5 IN SRV 0 100 81 plain.shop.svc.cluster.local.\n" +
			"additional plain.shop.svc.cluster.local. 5 IN A 10.96.0.11"},

		{"2.3.3", "10.0.96.10.in-addr.arpa", "PTR", "NOERROR\n10.0.96.10.in-addr.arpa. 5 IN PTR web.shop.svc.cluster.local."},
		{"2.3.3 IPv6", "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa", "PTR",
			"NOERROR\n0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa. 5 IN PTR web.shop.svc.cluster.local."},
		{"2.3.3 ours", "99.0.96.10.in-addr.arpa", "PTR", strings.ReplaceAll(missing, "authority cluster.local.", "authority in-addr.arpa.")},
		{"2.3.3 other type", "10.0.96.10.in-addr.arpa", "A", strings.ReplaceAll(noData, "authority cluster.local.", "authority in-addr.arpa.")},
		{"2.3.3 not ours", "1.2.0.192.in-addr.arpa", "PTR", "not ours"},
		{"2.3.3 not an address", "0.96.10.in-addr.arpa", "PTR", "not ours"},
		{"2.3.3 not an address", "010.0.96.10.in-addr.arpa", "PTR", "not ours"},

		{"2.4.1 A", "db.shop.svc.cluster.local", "A", "NOERROR\ndb.shop.svc.cluster.local. 5 IN A 10.244.1.1\ndb.shop.svc.cluster.local. 5 IN A 10.244.1.2"},
		{"2.4.1 AAAA", "db.shop.svc.cluster.local", "AAAA", "NOERROR\ndb.shop.svc.cluster.local. 5 IN AAAA fd00:244::1\ndb.shop.svc.cluster.local. 5 IN AAAA fd00:244::2"},
		{"2.4.1 hostname", "db-0.db.shop.svc.cluster.local", "A", "NOERROR\ndb-0.db.shop.svc.cluster.local. 5 IN A 10.244.1.1"},
		{"2.4.1 hostname", "DB-0.db.shop.svc.cluster.local", "AAAA", "NOERROR\nDB-0.db.shop.svc.cluster.local. 5 IN AAAA fd00:244::1"},
		{"2.4.1 made of the address", "10-244-1-2.db.shop.svc.cluster.local", "A", "NOERROR\n10-244-1-2.db.shop.svc.cluster.local. 5 IN A 10.244.1.2"},
		{"2.4.1 made of the address", "fd00-244--2.db.shop.svc.cluster.local", "AAAA", "NOERROR\nfd00-244--2.db.shop.svc.cluster.local. 5 IN AAAA fd00:244::2"},
		{"2.4.1 has a hostname", "10-244-1-1.db.shop.svc.cluster.local", "A", missing},
		{"2.4.1 not ready", "db-2.db.shop.svc.cluster.local", "A", missing},
		{"2.4.1 other family", "10-244-1-2.db.shop.svc.cluster.local", "AAAA", noData},
		{"2.4.1 under a host", "x.db-0.db.shop.svc.cluster.local", "A", missing},
		{"2.4.1 none ready", "down.shop.svc.cluster.local", "A", missing},
		{"2.4.1 published early", "early.shop.svc.cluster.local", "A", "NOERROR\nearly.shop.svc.cluster.local. 5 IN A 10.244.2.1"},
		{"2.4.1 early, no family", "early.shop.svc.cluster.local", "AAAA", noData},
		{"hostname behind a cluster IP", "web-0.web.shop.svc.cluster.local", "A", "NOERROR\nweb-0.web.shop.svc.cluster.local. 5 IN A 10.244.0.2"},
		{"no hostname behind a cluster IP", "10-244-0-1.web.shop.svc.cluster.local", "A", missing},

		{"2.4.2", "_http._tcp.db.shop.svc.cluster.local", "SRV", "NOERROR\n" +
			"_http._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 100 8080 10-244-1-2.db.shop.svc.cluster.local.\n" +
			"_http._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 100 8080 db-0.db.shop.svc.cluster.local.\n" +
			"_http._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 100 8080 fd00-244--2.db.shop.svc.cluster.local.\n" +
			"additional 10-244-1-2.db.shop.svc.cluster.local. 5 IN A 10.244.1.2\n" +
			"additional db-0.db.shop.svc.cluster.local. 5 IN A 10.244.1.1\n" +
			"additional db-0.db.shop.svc.cluster.local. 5 IN AAAA fd00:244::1\n" +
			"additional fd00-244--2.db.shop.svc.cluster.local. 5 IN AAAA fd00:244::2"},
		{"2.4.2 no ports", "early.shop.svc.cluster.local", "SRV", noData},

		{"2.4.3", "1.1.244.10.in-addr.arpa", "PTR", "NOERROR\n1.1.244.10.in-addr.arpa. 5 IN PTR db-0.db.shop.svc.cluster.local."},
		{"2.4.3 made of the address", "2.1.244.10.in-addr.arpa", "PTR", "NOERROR\n2.1.244.10.in-addr.arpa. 5 IN PTR 10-244-1-2.db.shop.svc.cluster.local."},
		{"2.4.3 not ready", "3.1.244.10.in-addr.arpa", "PTR", "not ours"},

		{"2.5 outside", "out.shop.svc.cluster.local", "A", "NOERROR\nout.shop.svc.cluster.local. 5 IN CNAME www.example.com."},
		{"2.5 itself", "out.shop.svc.cluster.local", "CNAME", "NOERROR\nout.shop.svc.cluster.local. 5 IN CNAME www.example.com."},
		{"2.5 inside", "in.shop.svc.cluster.local", "A", "NOERROR\nin.shop.svc.cluster.local. 5 IN CNAME web.shop.svc.cluster.local.\nweb.shop.svc.cluster.local. 5 IN A 10.96.0.10"},
		{"2.5 inside, no data", "in.shop.svc.cluster.local", "MX", "NOERROR\nin.shop.svc.cluster.local. 5 IN CNAME web.shop.svc.cluster.local." + soa},
		{"2.5 inside, missing", "gone.shop.svc.cluster.local", "A", "NXDOMAIN\ngone.shop.svc.cluster.local. 5 IN CNAME no.shop.svc.cluster.local." + soa},
		{"2.5 an address", "number.shop.svc.cluster.local", "A", missing},
		{"2.5 under it", "x.out.shop.svc.cluster.local", "A", missing},

		{"2.6", "10-1-2-3.shop.pod.cluster.local", "A", "NOERROR\n10-1-2-3.shop.pod.cluster.local. 5 IN A 10.1.2.3"},
		{"2.6 IPv6", "fd00--7.bare.pod.cluster.local", "AAAA", "NOERROR\nfd00--7.bare.pod.cluster.local. 5 IN AAAA fd00::7"},
		{"2.6 other family", "10-1-2-3.shop.pod.cluster.local", "AAAA", noData},
		{"2.6 not an address", "10-1-2-300.shop.pod.cluster.local", "A", missing},
		{"2.6 not an address", "web.shop.pod.cluster.local", "A", missing},
		{"2.6 no namespace", "10-1-2-3.no.pod.cluster.local", "A", missing},
		{"2.6 between", "shop.pod.cluster.local", "A", noData},

		{"between", "svc.cluster.local", "A", noData},
		{"between", "pod.cluster.local", "A", noData},
		{"between", "shop.svc.cluster.local", "A", noData},
		{"between, no Service", "bare.svc.cluster.local", "A", noData},
		{"no namespace", "no.svc.cluster.local", "A", missing},
		{"nothing", "foo.cluster.local", "A", missing},
		{"nothing", "a.b.c.svc.shop.web.cluster.local", "A", missing},
		{"too deep", "a._http._tcp.web.shop.svc.cluster.local", "A", missing},
		{"apex", "cluster.local", "A", noData},
		{"apex", "cluster.local", "SOA", "NOERROR\ncluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"},
		{"apex", "cluster.local", "NS", "NOERROR\ncluster.local. 5 IN NS ns.dns.cluster.local."},
		{"nameserver", "ns.dns.cluster.local", "A", noData},
		{"outside", "www.example.com", "A", "not ours"},
		{"outside", "local", "A", "not ours"},
		{"outside", ".", "NS", "not ours"},
		{"outside", "mycluster.local", "A", "not ours"},
		{"outside", "xcluster.local", "A", "not ours"},
	} {
		t.Run(c.section+" "+c.name+" "+c.typ, func(t *testing.T) {
			got, _ := ask(t, z, c.name, c.typ)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

func TestAliasOutsideIsToBeChased(t *testing.T) {
	z := newZone(t, Config{})
	publish(z)
	for typ, want := range map[string]string{"A": "www.example.com.", "AAAA": "www.example.com.", "CNAME": ""} {
		_, res := ask(t, z, "out.shop.svc.cluster.local", typ)
		got := ""
		if res.Chase != "" {
			got = wire.Unpack(res.Chase)
		}
		if got != want {
			t.Errorf("%s: chase %q, want %q", typ, got, want)
		}
	}
}

func TestAliasOfItselfEnds(t *testing.T) {
	z := newZone(t, Config{})
	publish(z)
	got, res := ask(t, z, "loop.shop.svc.cluster.local", "A")
	if !strings.Contains(got, "CNAME") || res.Chase != "" {
		t.Errorf("got %s, %+v", got, res)
	}
}

func TestNameserverIsTheServiceInFront(t *testing.T) {
	z := newZone(t, Config{})
	s := &model.Service{Name: model.ServiceName{Namespace: "kube-system", Name: "kube-dns"}, ClusterIPs: addrs("10.96.0.2")}
	z.Set(s.Name, RecordsOf(domain, s, nil))
	if got, _ := ask(t, z, "ns.dns.cluster.local", "A"); got != "NOERROR\nns.dns.cluster.local. 5 IN A 10.96.0.2" {
		t.Error(got)
	}
}

// TestFirstAddressVaries asks until every address of a set has come first.
func TestFirstAddressVaries(t *testing.T) {
	z := newZone(t, Config{})
	publish(z)
	seen := map[string]bool{}
	for range 1000 {
		in := new(dns.Msg)
		in.SetQuestion("db.shop.svc.cluster.local.", dns.TypeA)
		packed, _ := in.Pack()
		var q wire.Query
		var m wire.Message
		q.Parse(packed)
		m.Begin(make([]byte, 512), 512, &q, 0)
		z.Answer(&q, &m)
		out := new(dns.Msg)
		if err := out.Unpack(m.End(0, 0)); err != nil {
			t.Fatal(err)
		}
		if seen[out.Answer[0].String()] = true; len(seen) == 2 {
			return
		}
	}
	t.Errorf("always first: %v", seen)
}

func TestImpossibleNames(t *testing.T) {
	long := strings.Repeat("x", 64)
	ok := model.ServiceName{Namespace: "shop", Name: "web"}
	for _, n := range []model.ServiceName{{}, {Namespace: "shop"}, {Namespace: "shop", Name: long}, {Namespace: long, Name: "web"}, {Namespace: "a.b", Name: "web"}} {
		if r := RecordsOf(domain, &model.Service{Name: n}, nil); r != nil {
			t.Errorf("%v has records", n)
		}
	}
	if r := RecordsOf(strings.Repeat("abcdefgh.", 30), &model.Service{Name: ok}, nil); r != nil {
		t.Error("a name that is too long has records")
	}
	z := newZone(t, Config{})
	z.Set(ok, RecordsOf(domain, &model.Service{Name: ok, Kind: model.Headless}, &model.Endpoints{Ports: []model.PortEndpoints{
		{Port: long, Protocol: model.TCP, Endpoints: []model.Endpoint{at("10.0.0.1:80", long, true), at("10.0.0.2:80", "a.b", true), {Ready: true}}},
	}}))
	if got, _ := ask(t, z, "web.shop.svc.cluster.local", "A"); !strings.Contains(got, "10.0.0.1") || !strings.Contains(got, "10.0.0.2") {
		t.Error(got)
	}
	if got, _ := ask(t, z, "10-0-0-1.web.shop.svc.cluster.local", "A"); !strings.Contains(got, "10.0.0.1") {
		t.Error(got)
	}
	for _, alias := range []string{"", ".", "192.0.2.1", "192.0.2.1.", "fd00::1", "a..b", long, strings.Repeat("a.", 130)} {
		if r := RecordsOf(domain, &model.Service{Name: ok, Kind: model.External, ExternalName: alias}, nil); r == nil || !r.Empty() {
			t.Errorf("an alias of %q is published", alias)
		}
	}
}

func TestExplain(t *testing.T) {
	z := newZone(t, Config{Reverse: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}})
	publish(z)
	for _, c := range []struct {
		name string
		typ  wire.Type
		want []string
	}{
		{"web.shop.svc.cluster.local", wire.TypeA, []string{"is a ClusterIP Service: [10.96.0.10]", "declared by Service shop/web"}},
		{"plain.shop.svc.cluster.local", wire.TypeAAAA, []string{"nothing of that type (it has [10.96.0.11])"}},
		{"db.shop.svc.cluster.local", wire.TypeA, []string{"is a Headless Service", "endpoints from EndpointSlice shop/slice-1"}},
		{"db-0.db.shop.svc.cluster.local", wire.TypeA, []string{"is an endpoint: [10.244.1.1]", "endpoint from EndpointSlice shop/slice-1"}},
		{"db-9.db.shop.svc.cluster.local", wire.TypeA, []string{"does not exist", "Service shop/db has no ready endpoint of that name"}},
		{"down.shop.svc.cluster.local", wire.TypeA, []string{"does not exist", "Service shop/down is headless and has no ready endpoints"}},
		{"no.shop.svc.cluster.local", wire.TypeA, []string{`namespace "shop" has no Service "no"`}},
		{"web.no.svc.cluster.local", wire.TypeA, []string{`no namespace "no" is known`}},
		{"no.cluster.local", wire.TypeA, []string{`nothing under "no"`}},
		{"_x._tcp.web.shop.svc.cluster.local", wire.TypeSRV, []string{"has no such port"}},
		{"_http._tcp.web.shop.svc.cluster.local", wire.TypeSRV, []string{`is port "http" over TCP`}},
		{"in.shop.svc.cluster.local", wire.TypeA, []string{"is an alias of web.shop.svc.cluster.local.", "is a ClusterIP Service"}},
		{"loop.shop.svc.cluster.local", wire.TypeA, []string{"more than 8 aliases"}},
		{"number.shop.svc.cluster.local", wire.TypeA, []string{"has no name or address that can be published"}},
		{"10.0.96.10.in-addr.arpa", wire.TypePTR, []string{"is web.shop.svc.cluster.local.", "declared by Service shop/web"}},
		{"11.1.96.10.in-addr.arpa", wire.TypePTR, []string{"no Service and no published endpoint has 10.96.1.11"}},
		{"10-1-2-3.shop.pod.cluster.local", wire.TypeA, []string{"is the address 10.1.2.3"}},
		{"x.shop.pod.cluster.local", wire.TypeA, []string{"not an address written with dashes"}},
		{"svc.cluster.local", wire.TypeA, []string{"only names under it"}},
		{"cluster.local", wire.TypeSOA, []string{"is the cluster domain"}},
		{"ns.dns.cluster.local", wire.TypeA, []string{"no Service kube-dns.kube-system leads to it"}},
		{"dns-version.cluster.local", wire.TypeTXT, []string{"1.1.0"}},
		{strings.Repeat("x", 64), wire.TypeA, []string{"a label has 1 to 63 bytes"}},
	} {
		got := strings.Join(z.Explain(c.name, c.typ), "\n")
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q is not in\n%s", c.name, w, got)
			}
		}
	}
	if got := z.Explain("www.example.com", wire.TypeA); got != nil {
		t.Errorf("outside: %q", got)
	}
}
