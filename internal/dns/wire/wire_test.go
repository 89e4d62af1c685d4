package wire

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestNames(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "."}, {".", "."}, {"a", "a."}, {"Web.Shop.", "web.shop."}, {"_http._tcp.x", "_http._tcp.x."},
		{strings.Repeat("a", 63), strings.Repeat("a", 63) + "."},
		{strings.Repeat("a.", 127), strings.Repeat("a.", 127)},
	} {
		w, err := Pack(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if got := Unpack(w); got != c.want {
			t.Errorf("%q: got %q", c.text, got)
		}
	}
	for _, bad := range []string{"a..b", ".a", strings.Repeat("a", 64), strings.Repeat("a.", 128), strings.Repeat("abc.", 64)} {
		if w, err := Pack(bad); err == nil {
			t.Errorf("%q is packed as %q", bad, w)
		}
	}
	for _, bad := range []string{"", "\x01", "\x01a", "\x01a\x00x", "\x40" + strings.Repeat("a", 64) + "\x00", "\xc0\x0c"} {
		var n Name
		if n.SetWire(bad) == nil {
			t.Errorf("%q is read as %v", bad, &n)
		}
	}
	var n Name
	if err := n.Set("A.bc.d"); err != nil {
		t.Fatal(err)
	}
	got := []string{string(n.Label(1)), string(n.From(1)), string(n.Between(0, 2)), string(n.From(3)), string(n.Wire())}
	if d := cmp.Diff([]string{"bc", "\x02bc\x01d\x00", "\x01a\x02bc", "\x00", "\x01a\x02bc\x01d\x00"}, got); d != "" {
		t.Error(d)
	}
	if s := Unpack("\x03a.\x07\x00"); s != `a\.\007.` {
		t.Error(s)
	}
}

// TestMessage writes one record of each kind and has a full library read them.
func TestMessage(t *testing.T) {
	in := new(dns.Msg)
	in.SetQuestion("X.example.", dns.TypeA)
	in.SetEdns0(4096, true)
	packed, err := in.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q Query
	if v := q.Parse(packed); v != Answer || !q.EDNS || !q.DO || q.UDPSize != 4096 {
		t.Fatalf("%v %+v", v, &q)
	}
	var m Message
	m.Begin(make([]byte, 1000), 1000, &q, 1232)
	alias := m.Named(QuestionName, TypeCNAME, 1, "\x01y\x07example\x00")
	m.Address(alias, 2, netip.MustParseAddr("192.0.2.1"))
	m.Address(alias, 3, netip.MustParseAddr("2001:db8::1"))
	m.Strings(QuestionName, TypeTXT, 4, "one", "two")
	target := m.SRV(QuestionName, 5, 1, 2, 3, "h", "\x01z\x00")
	m.Section(AuthoritySection)
	m.SOA(QuestionName+2, 6, &SOA{Nameserver: "\x02ns\x00", Mailbox: "\x02mb\x00", Serial: 1, Refresh: 2, Retry: 3, Expire: 4, Minimum: 5})
	m.Section(AdditionalSection)
	m.Address(target, 7, netip.MustParseAddr("192.0.2.2"))
	out := new(dns.Msg)
	if err := out.Unpack(m.End(BadVers, FlagAA)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, rr := range append(append(out.Answer, out.Ns...), out.Extra[0]) {
		got = append(got, strings.Join(strings.Fields(rr.String()), " "))
	}
	want := []string{
		"X.example. 1 IN CNAME y.example.", "y.example. 2 IN A 192.0.2.1", "y.example. 3 IN AAAA 2001:db8::1", `X.example. 4 IN TXT "one" "two"`,
		"X.example. 5 IN SRV 1 2 3 h.z.", "example. 6 IN SOA ns. mb. 1 2 3 4 5", "h.z. 7 IN A 192.0.2.2",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	opt := out.IsEdns0()
	if out.Rcode != dns.RcodeBadVers || opt == nil || opt.UDPSize() != 1232 || !opt.Do() || !out.Authoritative || !out.RecursionDesired || out.Id != in.Id {
		t.Errorf("%v", out)
	}
}

// TestNothingIsCutInTwo writes into every room there is: what comes out is always whole records, and says if any are missing.
func TestNothingIsCutInTwo(t *testing.T) {
	in := new(dns.Msg)
	in.SetQuestion("x.example.", dns.TypeA)
	packed, _ := in.Pack()
	var q Query
	q.Parse(packed)
	for limit := range 200 {
		var m Message
		buf := bytes.Repeat([]byte{0xee}, 200)
		if !m.Begin(buf, limit, &q, 0) {
			if limit >= len(packed) {
				t.Fatalf("limit %d: no room for the question", limit)
			}
			continue
		}
		for range 4 {
			m.Address(QuestionName, 1, netip.MustParseAddr("192.0.2.1"))
		}
		m.Section(AdditionalSection)
		for range 2 {
			m.Address(QuestionName, 1, netip.MustParseAddr("2001:db8::1"))
		}
		b := m.End(0, 0)
		out := new(dns.Msg)
		if err := out.Unpack(b); err != nil || len(b) > limit {
			t.Fatalf("limit %d: %d bytes, %v", limit, len(b), err)
		}
		if whole := (limit - len(packed)) / 16; len(out.Answer) != min(4, whole) || out.Truncated != (whole < 4) {
			t.Errorf("limit %d: %d answers, truncated %v", limit, len(out.Answer), out.Truncated)
		}
		if buf[max(limit, len(b))] != 0xee {
			t.Errorf("limit %d: wrote beyond", limit)
		}
	}
}

func FuzzRecords(f *testing.F) {
	in := new(dns.Msg)
	in.SetQuestion("x.example.", dns.TypeA)
	rr, _ := dns.NewRR("x.example. 60 IN A 192.0.2.1")
	in.Answer = append(in.Answer, rr)
	in.Compress = true
	b, _ := in.Pack()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		rs, question, ok := Records(b)
		if !ok {
			return
		}
		at := question
		for _, r := range rs {
			if r.TTL+6 > r.End || r.End > len(b) || r.TTL < at {
				t.Fatalf("%+v after %d", r, at)
			}
			at = r.End
		}
	})
}
