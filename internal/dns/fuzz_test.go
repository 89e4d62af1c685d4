package dns

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/internal/dns/forward"
	"github.com/weftmesh/weft/internal/dns/wire"
)

// seeds are packets of every kind that the server tells apart; testdata/fuzz holds what fuzzing has found besides.
func seeds(f *testing.F) {
	for _, name := range []string{
		"web.shop.svc.cluster.local.", "many.shop.svc.cluster.local.", "10-244-0-1.many.shop.svc.cluster.local.", "_http._tcp.many.shop.svc.cluster.local.",
		"out.shop.svc.cluster.local.", "10-1-2-3.shop.pod.cluster.local.", "dns-version.cluster.local.", "cluster.local.", "svc.cluster.local.", ".",
		"10.0.96.10.in-addr.arpa.", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.", "www.example.com.",
	} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeANY, dns.TypeAXFR} {
			m := query(name, typ)
			b, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, false)
			m.SetEdns0(4096, true)
			if b, err = m.Pack(); err != nil {
				f.Fatal(err)
			}
			f.Add(b, true)
			f.Add(b[:len(b)-7], false)
		}
	}
}

// FuzzServe puts any bytes: nothing panics, and an answer is one to the query, within its limit, that a full DNS library can read.
func FuzzServe(f *testing.F) {
	seeds(f)
	s := &Server{
		config: Config{UDPSize: 1232}, zone: cluster(f), rest: new(counters), log: slog.New(slog.DiscardHandler),
		fwd: forward.New(forward.Config{Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}}),
	}
	s.MarkReady()
	w := &worker{server: s, count: s.rest}
	buf := make([]byte, wire.MaxMessage)
	f.Fuzz(func(t *testing.T, packet []byte, tcp bool) {
		reply, later := w.handle(packet, buf, transport{tcp: tcp}, time.Now())
		if n := s.rest.panics.Load(); n > 0 {
			t.Fatalf("%d panics", n)
		}
		if reply == nil {
			if !later && len(packet) >= wire.HeaderLen && packet[2]&0x80 == 0 {
				t.Fatal("a query without an answer")
			}
			return
		}
		if later {
			t.Fatal("answered now and later")
		}
		if binary.BigEndian.Uint16(reply) != binary.BigEndian.Uint16(packet) || reply[2]&0x80 == 0 {
			t.Fatalf("%x answers %x", reply, packet)
		}
		if !tcp && len(reply) > 1232 {
			t.Fatalf("%d bytes", len(reply))
		}
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil {
			t.Fatalf("%x: %v", reply, err)
		}
		if !tcp && m.IsEdns0() == nil && len(reply) > wire.PlainUDP {
			t.Fatalf("%d bytes without EDNS", len(reply))
		}
	})
}
