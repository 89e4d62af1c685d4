package dns

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weftmesh/weft/internal/dns/forward"
	"github.com/weftmesh/weft/internal/dns/wire"
	"github.com/weftmesh/weft/internal/dns/zone"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/test/freeport"
)

// cluster makes a zone with a Service of each kind; "many" has 100 endpoints.
func cluster(t testing.TB) *zone.Zone {
	t.Helper()
	z, err := zone.New(zone.Config{})
	if err != nil {
		t.Fatal(err)
	}
	set := func(name string, s model.Service, eps ...string) {
		s.Name = model.ServiceName{Namespace: "shop", Name: name}
		p := model.PortEndpoints{Port: "http", Protocol: model.TCP}
		for _, e := range eps {
			p.Endpoints = append(p.Endpoints, model.Endpoint{AddrPort: netip.MustParseAddrPort(e), Ready: true})
		}
		z.Set(s.Name, zone.RecordsOf("cluster.local", &s, &model.Endpoints{Service: s.Name, Ports: []model.PortEndpoints{p}}))
	}
	set("web", model.Service{ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00:96::10")},
		Ports: []model.Port{{Name: "http", Protocol: model.TCP, Port: 80}}})
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("10.244.0.%d:80", i+1))
	}
	set("many", model.Service{Kind: model.Headless}, many...)
	set("out", model.Service{Kind: model.External, ExternalName: "www.example.com"})
	return z
}

// serve starts a server on loopback that ends with the test, and gives its address.
func serve(t testing.TB, c Config) (*Server, string) {
	t.Helper()
	if c.Zone == nil {
		c.Zone = cluster(t)
	}
	if c.Addresses == nil {
		c.Addresses = []string{"127.0.0.1:0"}
	}
	s, err := Listen(t.Context(), c)
	for i := 0; err != nil && i < 10; i++ { // the port that was free for TCP may be somebody's for UDP
		s, err = Listen(t.Context(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, s.Addrs()[0].String()
}

func query(name string, typ uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	return m
}

func exchange(t testing.TB, network, addr string, m *dns.Msg) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: network, Timeout: 5 * time.Second, UDPSize: 4096}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s %v: %v", network, m.Question, err)
	}
	return r
}

func TestBothTransportsAndFamilies(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		s, addr := serve(t, Config{Addresses: []string{listen}})
		s.MarkReady()
		_, port, _ := net.SplitHostPort(addr)
		to := []string{addr}
		if listen == ":0" { // answers must come from the address that was asked
			to = []string{"127.0.0.1:" + port, "127.0.0.2:" + port, "[::1]:" + port}
		}
		for _, a := range to {
			for _, network := range []string{"udp", "tcp"} {
				r := exchange(t, network, a, query("web.shop.svc.cluster.local.", dns.TypeA))
				if len(r.Answer) != 1 || !strings.HasSuffix(r.Answer[0].String(), "10.96.0.10") || !r.Authoritative || !r.RecursionAvailable {
					t.Errorf("%s %s: %v", network, a, r)
				}
			}
		}
	}
}

func TestNotReady(t *testing.T) {
	s, addr := serve(t, Config{})
	for _, name := range []string{"web.shop.svc.cluster.local.", "no.shop.svc.cluster.local."} {
		if r := exchange(t, "udp", addr, query(name, dns.TypeA)); r.Rcode != dns.RcodeServerFailure || len(r.Answer) != 0 {
			t.Errorf("before: %v", r)
		}
	}
	if s.Ready() {
		t.Error("ready before it was told")
	}
	s.MarkReady()
	if r := exchange(t, "udp", addr, query("web.shop.svc.cluster.local.", dns.TypeA)); r.Rcode != dns.RcodeSuccess || !s.Ready() {
		t.Errorf("after: %v", r)
	}
}

func TestTruncation(t *testing.T) {
	s, addr := serve(t, Config{UDPSize: 1232})
	s.MarkReady()
	for _, c := range []struct {
		network string
		edns    uint16
		max     int
		all     bool
	}{
		{"udp", 0, 512, false}, {"udp", 100, 512, false}, {"udp", 900, 900, false}, {"udp", 4096, 1232, false},
		{"tcp", 0, wire.MaxMessage, true}, {"tcp", 512, wire.MaxMessage, true},
	} {
		m := query("many.shop.svc.cluster.local.", dns.TypeA)
		if c.edns > 0 {
			m.SetEdns0(c.edns, false)
		}
		conn, err := net.Dial(c.network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		co := &dns.Conn{Conn: conn, UDPSize: 4096}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if err := co.WriteMsg(m); err != nil {
			t.Fatal(err)
		}
		raw, err := co.ReadMsgHeader(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := new(dns.Msg)
		if err := r.Unpack(raw); err != nil {
			t.Fatal(err)
		}
		if len(raw) > c.max || r.Truncated == c.all || (len(r.Answer) == 100) != c.all || len(raw) < c.max-40 && !c.all {
			t.Errorf("%+v: %d bytes, %d answers, truncated %v", c, len(raw), len(r.Answer), r.Truncated)
		}
		if (r.IsEdns0() != nil) != (c.edns > 0) {
			t.Errorf("%+v: OPT %v", c, r.IsEdns0())
		}
	}
}

// TestHeaders puts packets that are not plain queries and looks at what comes back.
func TestHeaders(t *testing.T) {
	s, addr := serve(t, Config{})
	s.MarkReady()
	base := func(change func(*dns.Msg)) []byte {
		m := query("Web.shop.svc.cluster.local.", dns.TypeA)
		m.Id = 4711
		change(m)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := base(func(*dns.Msg) {})
	set := func(at int, v ...byte) []byte { b := slices.Clone(plain); copy(b[at:], v); return b }
	for _, c := range []struct {
		what string
		in   []byte
		code int // -1: no answer
	}{
		{"plain", plain, dns.RcodeSuccess},
		{"checking disabled", base(func(m *dns.Msg) { m.CheckingDisabled = true }), dns.RcodeSuccess},
		{"unknown EDNS option", base(func(m *dns.Msg) {
			m.SetEdns0(1232, true)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")}, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"}}
		}), dns.RcodeSuccess},
		{"EDNS version 1", base(func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
		{"two OPT", base(func(m *dns.Msg) { m.SetEdns0(1232, false); m.SetEdns0(1232, false) }), dns.RcodeFormatError},
		{"OPT among the answers", base(func(m *dns.Msg) { m.SetEdns0(1232, false); m.Answer, m.Extra = m.Extra, nil }), dns.RcodeFormatError},
		{"no question", set(4, 0, 0)[:12:12], dns.RcodeFormatError},
		{"two questions", set(4, 0, 2), dns.RcodeFormatError},
		{"claims records", set(10, 0xff, 0xff), dns.RcodeFormatError},
		{"name without end", plain[:20], dns.RcodeFormatError},
		{"name points to itself", set(12, 0xc0, 12), dns.RcodeFormatError},
		{"label of 64 bytes", set(12, 64), dns.RcodeFormatError},
		{"without type", plain[:len(plain)-3], dns.RcodeFormatError},
		{"notify", base(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		{"update", base(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		{"status", base(func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }), dns.RcodeNotImplemented},
		{"transfer", base(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }), dns.RcodeRefused},
		{"incremental transfer", base(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeIXFR }), dns.RcodeRefused},
		{"chaos", base(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		{"outside, nobody to ask", base(func(m *dns.Msg) { m.Question[0].Name = "www.example.com." }), dns.RcodeRefused},
		{"an answer", base(func(m *dns.Msg) { m.Response = true }), -1},
		{"half a header", plain[:11], -1},
		{"nothing", []byte{}, -1},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(c.what+"/"+network, func(t *testing.T) {
				conn, err := net.Dial(network, addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(5 * time.Second))
				co := &dns.Conn{Conn: conn, UDPSize: 4096}
				if _, err := co.Write(c.in); err != nil {
					t.Fatal(err)
				}
				after := query("dns-version.cluster.local.", dns.TypeTXT) // answered in any case, and after the other
				after.Id = 1
				if err := co.WriteMsg(after); err != nil {
					t.Fatal(err)
				}
				r, err := co.ReadMsg()
				if err != nil {
					t.Fatal(err)
				}
				if c.code == -1 {
					if r.Id != 1 {
						t.Errorf("answered: %v", r)
					}
					return
				}
				if r.Id != 4711 || r.Rcode != c.code || !r.Response {
					t.Errorf("want %s, got %v", dns.RcodeToString[c.code], r)
				}
				if c.code == dns.RcodeSuccess && (r.Question[0].Name != "Web.shop.svc.cluster.local." || r.Answer[0].Header().Name != "Web.shop.svc.cluster.local.") {
					t.Errorf("letter case lost: %v", r)
				}
			})
		}
	}
}

func TestPipelining(t *testing.T) {
	s, addr := serve(t, Config{})
	s.MarkReady()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	var all []byte
	for i := range 300 {
		m := query("web.shop.svc.cluster.local.", dns.TypeA)
		m.Id = uint16(i)
		b, _ := m.Pack()
		all = binary.BigEndian.AppendUint16(all, uint16(len(b)))
		all = append(all, b...)
	}
	go func() { // in pieces that respect no boundary
		for len(all) > 0 {
			n := min(1000, len(all))
			conn.Write(all[:n])
			all = all[n:]
		}
	}()
	co := &dns.Conn{Conn: conn}
	for i := range 300 {
		r, err := co.ReadMsg()
		if err != nil || r.Id != uint16(i) || len(r.Answer) != 1 {
			t.Fatalf("%d: %v %v", i, r, err)
		}
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	_, addr := serve(t, Config{Idle: 20 * time.Millisecond})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v, want the server to end it", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s, addr := serve(t, Config{Connections: 2})
	s.MarkReady()
	for range 2 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		co := &dns.Conn{Conn: conn}
		co.WriteMsg(query("web.shop.svc.cluster.local.", dns.TypeA))
		if _, err := co.ReadMsg(); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("got %d %v, want the third to be closed", n, err)
	}
	if s.Stats().Overloaded != 1 {
		t.Errorf("%+v", s.Stats())
	}
}

// TestPanicCostsOneQuery has a worker without a zone, so that answering panics.
func TestPanicCostsOneQuery(t *testing.T) {
	s := &Server{config: Config{UDPSize: 1232}, rest: new(counters), log: slog.New(slog.DiscardHandler)}
	w := &worker{server: s, count: s.rest}
	packet, err := query("web.shop.svc.cluster.local.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1232)
	for i := range uint64(2) {
		reply, later := w.handle(packet, buf, transport{}, time.Now())
		r := new(dns.Msg)
		if err := r.Unpack(reply); err != nil || r.Rcode != dns.RcodeServerFailure || later || r.Id != binary.BigEndian.Uint16(packet) {
			t.Errorf("%v %v %v", r, later, err)
		}
		if n := s.rest.panics.Load(); n != i+1 {
			t.Errorf("%d panics counted", n)
		}
	}
}

// upstream starts a resolver on loopback.
func upstream(t testing.TB, answer dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: pc, Handler: answer}
	go srv.ActivateAndServe()
	t.Cleanup(func() { srv.Shutdown() })
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

func reply(w dns.ResponseWriter, r *dns.Msg, code int, records ...string) {
	m := new(dns.Msg)
	m.SetRcode(r, code)
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	w.WriteMsg(m)
}

func TestForwarding(t *testing.T) {
	up := upstream(t, func(w dns.ResponseWriter, r *dns.Msg) {
		if r.Question[0].Name == "missing.example." {
			reply(w, r, dns.RcodeNameError)
			return
		}
		reply(w, r, dns.RcodeSuccess, r.Question[0].Name+" 60 IN A 192.0.2.7")
	})
	s, addr := serve(t, Config{Forwarder: forward.New(forward.Config{Upstreams: []netip.AddrPort{up}})})
	s.MarkReady()
	for range 2 { // asked, then kept
		for _, network := range []string{"udp", "tcp"} {
			r := exchange(t, network, addr, query("Other.Example.", dns.TypeA))
			if r.Rcode != 0 || len(r.Answer) != 1 || r.Question[0].Name != "Other.Example." || r.Authoritative {
				t.Errorf("%s: %v", network, r)
			}
			if r := exchange(t, network, addr, query("missing.example.", dns.TypeA)); r.Rcode != dns.RcodeNameError {
				t.Errorf("%s: %v", network, r)
			}
		}
	}
	r := exchange(t, "udp", addr, query("out.shop.svc.cluster.local.", dns.TypeA))
	if len(r.Answer) != 2 || r.Answer[0].Header().Rrtype != dns.TypeCNAME || !strings.Contains(r.Answer[1].String(), "192.0.2.7") {
		t.Errorf("alias: %v", r)
	}
}

func TestAliasStandsAloneWithoutUpstream(t *testing.T) {
	dead := netip.MustParseAddrPort("127.0.0.1:1")
	for _, f := range []*forward.Forwarder{nil, forward.New(forward.Config{Upstreams: []netip.AddrPort{dead}}), forward.New(forward.Config{})} {
		s, addr := serve(t, Config{Forwarder: f})
		s.MarkReady()
		r := exchange(t, "udp", addr, query("out.shop.svc.cluster.local.", dns.TypeA))
		if r.Rcode != dns.RcodeSuccess || len(r.Answer) != 1 || r.Answer[0].Header().Rrtype != dns.TypeCNAME {
			t.Errorf("%v", r)
		}
	}
}

// TestSlowUpstream holds questions back while the cluster's names and the questions beyond the bound are answered.
func TestSlowUpstream(t *testing.T) {
	release := make(chan struct{})
	var asked atomic.Int32
	up := upstream(t, func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		<-release
		reply(w, r, dns.RcodeSuccess, r.Question[0].Name+" 60 IN A 192.0.2.7")
	})
	s, addr := serve(t, Config{Pending: 3, Forwarder: forward.New(forward.Config{Upstreams: []netip.AddrPort{up}, Attempt: 30 * time.Second, Timeout: 30 * time.Second})})
	s.MarkReady()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	co := &dns.Conn{Conn: conn}
	for i := range 4 {
		m := query(fmt.Sprintf("n%d.example.", i), dns.TypeA)
		m.Id = uint16(i)
		if err := co.WriteMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	r, err := co.ReadMsg() // the fourth found no place
	if err != nil || r.Id != 3 || r.Rcode != dns.RcodeServerFailure {
		t.Fatalf("%v %v", r, err)
	}
	m := query("web.shop.svc.cluster.local.", dns.TypeA)
	m.Id = 9
	co.WriteMsg(m)
	if r, err := co.ReadMsg(); err != nil || r.Id != 9 || len(r.Answer) != 1 {
		t.Fatalf("%v %v", r, err)
	}
	if st := s.Stats(); st.Waiting != 3 || st.Overloaded != 1 {
		t.Errorf("%+v", st)
	}
	close(release)
	for range 3 {
		if r, err := co.ReadMsg(); err != nil || len(r.Answer) != 1 {
			t.Fatalf("%v %v", r, err)
		}
	}
}

// TestLoop makes a server its own upstream.
func TestLoop(t *testing.T) {
	self := freeport.Hold(t)
	f := forward.New(forward.Config{Upstreams: []netip.AddrPort{self}, Probe: 10 * time.Millisecond})
	s, addr := serve(t, Config{Addresses: []string{self.String()}, Forwarder: f})
	s.MarkReady()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	defer func() { stop(); <-done }()
	for deadline := time.Now().Add(10 * time.Second); !f.Stats().Upstreams[0].Looped; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no loop found: %+v", f.Stats())
		}
	}
	if r := exchange(t, "udp", addr, query("www.example.com.", dns.TypeA)); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v", r)
	}
}

func TestMetrics(t *testing.T) {
	s, addr := serve(t, Config{Forwarder: forward.New(forward.Config{})})
	s.MarkReady()
	reg := prometheus.NewPedanticRegistry()
	if err := s.Register(reg); err != nil {
		t.Fatal(err)
	}
	exchange(t, "tcp", addr, query("web.shop.svc.cluster.local.", dns.TypeA))
	exchange(t, "tcp", addr, query("no.shop.svc.cluster.local.", dns.TypeAAAA))
	exchange(t, "tcp", addr, query("www.example.com.", dns.TypeLOC))
	want := `
# HELP weft_dns_requests_total Queries answered.
# TYPE weft_dns_requests_total counter
weft_dns_requests_total{family="1",proto="tcp",type="A",zone="cluster.local."} 1
weft_dns_requests_total{family="1",proto="tcp",type="AAAA",zone="cluster.local."} 1
weft_dns_requests_total{family="1",proto="tcp",type="other",zone="."} 1
# HELP weft_dns_responses_total Answers given, by response code.
# TYPE weft_dns_responses_total counter
weft_dns_responses_total{rcode="NOERROR",zone="cluster.local."} 1
weft_dns_responses_total{rcode="NXDOMAIN",zone="cluster.local."} 1
weft_dns_responses_total{rcode="REFUSED",zone="."} 1
# HELP weft_dns_zone_services Services in the zone.
# TYPE weft_dns_zone_services gauge
weft_dns_zone_services 3
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "weft_dns_requests_total", "weft_dns_responses_total", "weft_dns_zone_services"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestExplain(t *testing.T) {
	s, _ := serve(t, Config{Forwarder: forward.New(forward.Config{Upstreams: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}})})
	if got := strings.Join(s.Explain("www.example.com", wire.TypeA), "\n"); !strings.Contains(got, "192.0.2.53:53") {
		t.Error(got)
	}
	if got := strings.Join(s.Explain("web.shop.svc.cluster.local", wire.TypeA), "\n"); !strings.Contains(got, "10.96.0.10") {
		t.Error(got)
	}
}
