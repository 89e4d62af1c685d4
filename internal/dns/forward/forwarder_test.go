package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/weftmesh/weft/internal/dns/wire"
)

// resolver starts a resolver on loopback, over UDP and TCP on the same port.
func resolver(t *testing.T, answer dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil { // somebody else has that port
			l.Close()
			continue
		}
		for _, s := range []*dns.Server{{Listener: l, Handler: answer}, {PacketConn: pc, Handler: answer}} {
			started := make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			go s.ActivateAndServe()
			<-started
			t.Cleanup(func() { s.Shutdown() })
		}
		return netip.MustParseAddrPort(l.Addr().String())
	}
	t.Fatal("no port is free for both UDP and TCP")
	return netip.AddrPort{}
}

// message makes an answer out of records, an SOA going to the authority section.
func message(r *dns.Msg, code int, records ...string) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(r, code)
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			panic(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

// ask puts a question to a forwarder and gives the answer.
func ask(t *testing.T, f *Forwarder, m *dns.Msg, limit int) *dns.Msg {
	t.Helper()
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	if v := q.Parse(packed); v != wire.Answer {
		t.Fatalf("verdict %v", v)
	}
	var msg wire.Message
	buf := make([]byte, wire.MaxMessage)
	b := f.Cached(&q, &msg, buf, limit)
	if b == nil {
		b = f.Resolve(t.Context(), &q, &msg, buf, limit)
	}
	r := new(dns.Msg)
	if err := r.Unpack(b); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	if len(b) > limit {
		t.Errorf("%d bytes, limit %d", len(b), limit)
	}
	if r.Id != m.Id || r.Question[0] != m.Question[0] {
		t.Errorf("answer to another question: %v", r)
	}
	return r
}

func question1(name string, typ uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	return m
}

func forwarder(c Config, ups ...netip.AddrPort) *Forwarder {
	c.Upstreams = ups
	return New(c)
}

// advance makes a forwarder's clock jump.
func (f *Forwarder) advance(d time.Duration) { f.start = f.start.Add(-d) }

func TestWithoutUpstreams(t *testing.T) {
	if r := ask(t, New(Config{}), question1("www.example.com.", dns.TypeA), 512); r.Rcode != dns.RcodeRefused {
		t.Errorf("%v", r)
	}
}

// TestKept tells which answers are kept, and for how long.
func TestKept(t *testing.T) {
	const soa = "example. 100 IN SOA ns.example. host.example. 1 2 3 4 "
	for _, c := range []struct {
		what    string
		code    int
		records []string
		life    time.Duration // 0: not kept
	}{
		{"the least TTL", 0, []string{"x.example. 50 IN A 192.0.2.1", "x.example. 40 IN A 192.0.2.2"}, 40 * time.Second},
		{"at most MaxTTL", 0, []string{"x.example. 100000 IN A 192.0.2.1"}, time.Hour},
		{"TTL 0", 0, []string{"x.example. 0 IN A 192.0.2.1"}, 0},
		{"alias", 0, []string{"x.example. 20 IN CNAME y.example.", "y.example. 50 IN A 192.0.2.1"}, 20 * time.Second},
		{"missing, the SOA's minimum", dns.RcodeNameError, []string{soa + "7"}, 7 * time.Second},
		{"missing, at most MaxNegativeTTL", dns.RcodeNameError, []string{soa + "90"}, 30 * time.Second},
		{"missing, without SOA", dns.RcodeNameError, nil, 0},
		{"no data", 0, []string{soa + "7"}, 7 * time.Second},
		{"no data at the end of an alias", 0, []string{"x.example. 5 IN CNAME y.example.", soa + "7"}, 5 * time.Second},
		{"no data, without SOA", 0, nil, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			var asked atomic.Int32
			up := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
				asked.Add(1)
				w.WriteMsg(message(r, c.code, c.records...))
			})
			f := forwarder(Config{}, up)
			m := question1("X.Example.", dns.TypeA)
			first := ask(t, f, m, 512)
			if first.Rcode != c.code || len(first.Answer)+len(first.Ns) != len(c.records) {
				t.Fatalf("%v", first)
			}
			ask(t, f, question1("x.eXample.", dns.TypeA), 512)
			if kept := asked.Load() == 1; kept != (c.life > 0) {
				t.Fatalf("asked %d times", asked.Load())
			}
			if c.life == 0 {
				return
			}
			asked.Store(0)
			f.advance(c.life - time.Second)
			r := ask(t, f, m, 512)
			if asked.Load() != 0 {
				t.Error("forgotten too soon")
			}
			for i, rr := range append(r.Answer, r.Ns...) {
				was := append(first.Answer, first.Ns...)[i].Header().Ttl
				if d := was - rr.Header().Ttl; d < uint32(c.life/time.Second)-1 || d > uint32(c.life/time.Second) {
					t.Errorf("TTL %d was %d, after %v", rr.Header().Ttl, was, c.life-time.Second)
				}
			}
			f.advance(time.Second)
			ask(t, f, m, 512)
			if asked.Load() != 1 {
				t.Error("kept too long")
			}
		})
	}
}

func TestNextUpstreamWhenOneFails(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	code := func(code int) netip.AddrPort {
		return resolver(t, func(w dns.ResponseWriter, r *dns.Msg) { w.WriteMsg(message(r, code)) })
	}
	garbage := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		b, _ := message(r, 0, "x.example. 9 IN A 192.0.2.6").Pack()
		w.Write(b[:len(b)-3])
	})
	good := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		w.WriteMsg(message(r, 0, r.Question[0].Name+" 0 IN A 192.0.2.7"))
	})
	for what, bad := range map[string]netip.AddrPort{
		"refused port": netip.MustParseAddrPort("127.0.0.1:1"), "silent": netip.MustParseAddrPort(silent.LocalAddr().String()),
		"SERVFAIL": code(dns.RcodeServerFailure), "REFUSED": code(dns.RcodeRefused), "garbage": garbage,
	} {
		t.Run(what, func(t *testing.T) {
			f := forwarder(Config{Attempt: time.Second}, bad, good)
			for i := range 10 {
				if r := ask(t, f, question1(fmt.Sprintf("x%d.example.", i), dns.TypeA), 512); r.Rcode != 0 || len(r.Answer) != 1 {
					t.Fatalf("%v", r)
				}
			}
			for _, u := range f.Stats().Upstreams {
				if u.Address == good.String() && !u.Healthy {
					t.Errorf("%+v", u)
				}
			}
		})
	}
}

// TestFailedUpstreamIsAskedLastUntilItAnswers has one of two servers fail, and return.
func TestFailedUpstreamIsAskedLastUntilItAnswers(t *testing.T) {
	var broken atomic.Bool
	var asked [2]atomic.Int32
	up := func(i int) netip.AddrPort {
		return resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
			if i == 0 && broken.Load() {
				return
			}
			asked[i].Add(1)
			w.WriteMsg(message(r, 0, r.Question[0].Name+" 0 IN A 192.0.2.7"))
		})
	}
	f := forwarder(Config{Attempt: time.Second, Probe: 5 * time.Millisecond}, up(0), up(1))
	broken.Store(true)
	for i := 0; f.Stats().Upstreams[0].Healthy; i++ {
		ask(t, f, question1(fmt.Sprintf("a%d.example.", i), dns.TypeA), 512)
	}
	failed := f.Stats().Upstreams[0].Failed
	for i := range 20 {
		ask(t, f, question1(fmt.Sprintf("b%d.example.", i), dns.TypeA), 512)
	}
	if n := f.Stats().Upstreams[0].Failed; n != failed {
		t.Errorf("asked %d times more", n-failed)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	defer func() { stop(); <-done }()
	broken.Store(false)
	for deadline := time.Now().Add(10 * time.Second); !f.Stats().Upstreams[0].Healthy; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not found to answer again")
		}
	}
}

func TestTruncatedIsAskedByTCP(t *testing.T) {
	up := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		m := message(r, 0)
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			m.Truncated = true
			w.WriteMsg(m)
			return
		}
		for i := range 200 {
			rr, _ := dns.NewRR(fmt.Sprintf("x.example. 60 IN A 192.0.2.%d", i))
			m.Answer = append(m.Answer, rr)
		}
		m.Compress = true
		w.WriteMsg(m)
	})
	f := forwarder(Config{}, up)
	if r := ask(t, f, question1("x.example.", dns.TypeA), wire.MaxMessage); len(r.Answer) != 200 || r.Truncated {
		t.Errorf("%d answers, truncated %v", len(r.Answer), r.Truncated)
	}
	m := question1("x.example.", dns.TypeA)
	m.SetEdns0(1232, false)
	for _, limit := range []int{512, 1232} { // cut from what is kept, at the end of a record
		if r := ask(t, f, m, limit); !r.Truncated || len(r.Answer) < limit/16-5 {
			t.Errorf("limit %d: %d answers, truncated %v", limit, len(r.Answer), r.Truncated)
		}
	}
}

func TestWithoutEDNS(t *testing.T) {
	up := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		if r.IsEdns0() != nil {
			w.WriteMsg(message(r, dns.RcodeFormatError))
			return
		}
		w.WriteMsg(message(r, 0, "x.example. 60 IN A 192.0.2.7"))
	})
	if r := ask(t, forwarder(Config{}, up), question1("x.example.", dns.TypeA), 512); len(r.Answer) != 1 {
		t.Errorf("%v", r)
	}
}

// TestForeignAnswersArePassedOver sends wrong answers before the right one.
func TestForeignAnswersArePassedOver(t *testing.T) {
	up := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		forged := func(change func(*dns.Msg)) {
			m := message(r, 0, "x.example. 60 IN A 192.0.2.66")
			change(m)
			w.WriteMsg(m)
		}
		forged(func(m *dns.Msg) { m.Id++ })
		forged(func(m *dns.Msg) { m.Question[0].Name = "y.example." })
		forged(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA })
		forged(func(m *dns.Msg) { m.Question = nil })
		forged(func(m *dns.Msg) { m.Response = false })
		w.Write([]byte{1, 2, 3})
		w.WriteMsg(message(r, 0, "x.example. 60 IN A 192.0.2.7"))
	})
	r := ask(t, forwarder(Config{}, up), question1("x.example.", dns.TypeA), 512)
	if len(r.Answer) != 1 || !strings.HasSuffix(r.Answer[0].String(), "192.0.2.7") {
		t.Errorf("%v", r)
	}
}

func TestOneQuestionForAllWhoWait(t *testing.T) {
	release := make(chan struct{})
	var asked atomic.Int32
	up := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		<-release
		w.WriteMsg(message(r, 0, "x.example. 60 IN A 192.0.2.7"))
	})
	f := forwarder(Config{Attempt: 20 * time.Second, Timeout: 20 * time.Second}, up)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if r := ask(t, f, question1("x.example.", dns.TypeA), 512); len(r.Answer) != 1 {
				t.Errorf("%v", r)
			}
		})
	}
	for f.misses.Load() < 10 || asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestExpiredAnswerStandsIn(t *testing.T) {
	var broken atomic.Bool
	var asked atomic.Int32
	up := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		if broken.Load() {
			w.WriteMsg(message(r, dns.RcodeServerFailure))
			return
		}
		w.WriteMsg(message(r, 0, "x.example. 60 IN A 192.0.2.7"))
	})
	f := forwarder(Config{Stale: time.Minute}, up)
	m := question1("x.example.", dns.TypeA)
	ask(t, f, m, 512)
	broken.Store(true)
	f.advance(61 * time.Second)
	r := ask(t, f, m, 512)
	if len(r.Answer) != 1 || r.Answer[0].Header().Ttl != staleTTL {
		t.Errorf("%v", r)
	}
	was := asked.Load()
	ask(t, f, m, 512)
	if asked.Load() != was {
		t.Error("asked again within the second")
	}
	f.advance(2 * time.Second)
	broken.Store(false)
	if r := ask(t, f, m, 512); len(r.Answer) != 1 || r.Answer[0].Header().Ttl != 60 {
		t.Errorf("not asked again: %v", r)
	}
	broken.Store(true)
	f.advance(125 * time.Second)
	if r := ask(t, f, m, 512); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("too old: %v", r)
	}
}

func TestFailureIsKeptForASecond(t *testing.T) {
	var asked atomic.Int32
	up := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		w.WriteMsg(message(r, dns.RcodeServerFailure))
	})
	f := forwarder(Config{}, up)
	m := question1("x.example.", dns.TypeA)
	for range 3 {
		if r := ask(t, f, m, 512); r.Rcode != dns.RcodeServerFailure {
			t.Errorf("%v", r)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	f.advance(time.Second)
	ask(t, f, m, 512)
	if asked.Load() != 2 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestCacheIsBounded(t *testing.T) {
	up := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		w.WriteMsg(message(r, 0, r.Question[0].Name+" 60 IN TXT "+strings.Repeat("x", 200)))
	})
	f := forwarder(Config{CacheBytes: 64 << 10}, up)
	for i := range 500 {
		ask(t, f, question1(fmt.Sprintf("n%d.example.", i), dns.TypeTXT), 512)
	}
	s := f.Stats()
	if s.CacheBytes > 64<<10 || s.CacheEntries < 20 {
		t.Errorf("%+v", s)
	}
	for i := range f.cache.shards { // the ring and the map hold the same
		sh := &f.cache.shards[i]
		n := 0
		for it := sh.first.next; it != &sh.first; it = it.next {
			n++
		}
		if n != len(sh.items) {
			t.Errorf("shard %d: %d in the ring, %d in the map", i, n, len(sh.items))
		}
	}
}

func TestDNSSECAskersAreKeptApart(t *testing.T) {
	up := resolver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		m := message(r, 0, "x.example. 60 IN A 192.0.2.7")
		m.AuthenticatedData = true
		if r.IsEdns0().Do() {
			rr, _ := dns.NewRR("x.example. 60 IN RRSIG A 8 2 60 20300101000000 20200101000000 1 example. AAAA")
			m.Answer = append(m.Answer, rr)
			m.SetEdns0(1232, true)
		}
		w.WriteMsg(m)
	})
	f := forwarder(Config{}, up)
	for range 2 {
		plain, secure := question1("x.example.", dns.TypeA), question1("x.example.", dns.TypeA)
		secure.SetEdns0(1232, true)
		if r := ask(t, f, plain, 512); len(r.Answer) != 1 || r.AuthenticatedData || r.IsEdns0() != nil {
			t.Errorf("%v", r)
		}
		if r := ask(t, f, secure, 1232); len(r.Answer) != 2 || !r.AuthenticatedData || r.IsEdns0() == nil || !r.IsEdns0().Do() {
			t.Errorf("%v", r)
		}
	}
}

func TestParse(t *testing.T) {
	got, err := ParseUpstreams(" 10.0.0.53, [fd00::53]:5353,fd00::54,::ffff:192.0.2.1 ,")
	want := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.53:53"), netip.MustParseAddrPort("[fd00::53]:5353"), netip.MustParseAddrPort("[fd00::54]:53"), netip.MustParseAddrPort("192.0.2.1:53")}
	if d := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	for _, bad := range []string{"dns.example", "10.0.0.53:0", "10.0.0.53:x", "10.0.0"} {
		if _, err := ParseUpstreams(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
	got, err = ResolvConf(strings.NewReader("# nameserver 192.0.2.9\nsearch a b\nnameserver 10.0.0.53\nnameserver\nnameserver x\n nameserver fe80::1%eth0\noptions ndots:5\n"))
	want = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.53:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53")}
	if d := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
}
