package dns

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/internal/dns/forward"
)

// paths are queries that are answered at once, one for each way through the server.
func paths(t testing.TB) (*worker, map[string][]byte) {
	t.Helper()
	up := upstream(t, func(w dns.ResponseWriter, r *dns.Msg) {
		reply(w, r, dns.RcodeSuccess, r.Question[0].Name+" 3600 IN A 192.0.2.7")
	})
	s := &Server{config: Config{UDPSize: 1232}, zone: cluster(t), fwd: forward.New(forward.Config{Upstreams: []netip.AddrPort{up}}), rest: new(counters)}
	s.MarkReady()
	w := &worker{server: s, count: s.rest}
	queries := map[string][]byte{}
	for what, q := range map[string]*dns.Msg{
		"A": query("web.shop.svc.cluster.local.", dns.TypeA), "AAAA": query("web.shop.svc.cluster.local.", dns.TypeAAAA),
		"headless100": query("many.shop.svc.cluster.local.", dns.TypeA), "SRV": query("_http._tcp.web.shop.svc.cluster.local.", dns.TypeSRV),
		"PTR": query("10.0.96.10.in-addr.arpa.", dns.TypePTR), "NXDOMAIN": query("www.example.com.shop.svc.cluster.local.", dns.TypeA),
		"cached": query("www.example.com.", dns.TypeA),
	} {
		q.SetEdns0(1232, false)
		b, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		queries[what] = b
	}
	w.resolve(t.Context(), queries["cached"], make([]byte, 1232), transport{}, time.Now())
	return w, queries
}

// TestAnsweringAllocatesNothing holds the path of a packet to what it promises.
func TestAnsweringAllocatesNothing(t *testing.T) {
	w, queries := paths(t)
	buf := make([]byte, 1232)
	for what, q := range queries {
		n := testing.AllocsPerRun(100, func() {
			if reply, later := w.handle(q, buf, transport{}, time.Now()); reply == nil || later {
				t.Error(what, "is not answered")
			}
		})
		if n != 0 {
			t.Errorf("%s: %g allocations", what, n)
		}
	}
}

func BenchmarkHandle(b *testing.B) {
	w, queries := paths(b)
	buf := make([]byte, 1232)
	for what, q := range queries {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.handle(q, buf, transport{}, time.Now())
			}
		})
	}
}
