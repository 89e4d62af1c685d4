package listen

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/proxy/stats"
)

func TestChoice(t *testing.T) {
	chain := func(name string, m Match) *Chain { return &Chain{Name: name, Match: m} }
	x, err := newIndex([]*Chain{
		chain("any", Match{}),
		chain("tls", Match{Transport: "tls"}),
		chain("exact", Match{ServerNames: []string{"a.b.example"}, Transport: "tls"}),
		chain("wild", Match{ServerNames: []string{"*.example"}}),
		chain("longer", Match{ServerNames: []string{"*.b.example"}}),
		chain("longer h2", Match{ServerNames: []string{"*.b.example"}, ALPN: []string{"h2"}}),
		chain("port", Match{Port: 81}),
		chain("range", Match{Port: 82, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/8")}}),
		chain("one", Match{Port: 82, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.9/32")}, Transport: "tls"}),
		chain("clear", Match{Port: 83, ALPN: []string{"http/1.1", "h2c"}}),
		chain("bytes", Match{Port: 83}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f    facts
		want string
	}{
		{facts{to: at(80), transport: "raw_buffer"}, "any"},
		{facts{to: at(80), transport: "tls"}, "tls"},
		{facts{to: at(80), transport: "tls", name: "a.b.example"}, "exact"},
		{facts{to: at(80), transport: "raw_buffer", name: "a.b.example"}, ""}, // the name is chosen before the transport
		{facts{to: at(80), transport: "tls", name: "c.b.example"}, "longer"},
		{facts{to: at(80), transport: "tls", name: "c.b.example", alpn: []string{"http/1.1", "h2"}}, "longer h2"},
		{facts{to: at(80), transport: "tls", name: "x.example"}, "wild"},
		{facts{to: at(80), transport: "tls", name: "example"}, "tls"},
		{facts{to: at(81), transport: "tls", name: "a.b.example"}, "port"},
		{facts{to: netip.MustParseAddrPort("10.0.0.8:82"), transport: "raw_buffer"}, "range"},
		{facts{to: netip.MustParseAddrPort("[fd00::1]:82"), transport: "raw_buffer"}, "range"},
		{facts{to: netip.MustParseAddrPort("10.1.0.8:82"), transport: "raw_buffer"}, ""}, // the port is chosen before the address
		{facts{to: at(82), transport: "tls"}, "one"},
		{facts{to: at(82), transport: "raw_buffer"}, ""}, // and the longest prefix before the transport
		{facts{to: at(83), transport: "raw_buffer", alpn: []string{"h2c"}}, "clear"},
		{facts{to: at(83), transport: "raw_buffer"}, "bytes"},
	} {
		got := ""
		if found := x.find(&c.f); found != nil {
			got = found.Name
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.f, got, c.want)
		}
	}
	if _, err := newIndex([]*Chain{chain("a", Match{ServerNames: []string{"x", "y"}}), chain("b", Match{ServerNames: []string{"y"}})}); err == nil || !strings.Contains(err.Error(), "filter_chains[1]") {
		t.Errorf("two chains of one match: %v", err)
	}
}

func TestMatchErrors(t *testing.T) {
	for want, m := range map[string]*listenerv3.FilterChainMatch{
		"server_names[0]":             {ServerNames: []string{"*"}},
		"source_ports":                {SourcePorts: []uint32{1}},
		"prefix_ranges[0].prefix_len": {PrefixRanges: []*corev3.CidrRange{{AddressPrefix: "10.0.0.0", PrefixLen: wrapperspb.UInt32(33)}}},
		"destination_port":            {DestinationPort: wrapperspb.UInt32(70000)},
	} {
		if _, err := NewMatch(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", m, err)
		}
	}
}

func TestProxyHeader(t *testing.T) {
	v2 := func(command, family byte, body ...byte) string {
		return signature + string([]byte{command, family, 0, byte(len(body))}) + string(body)
	}
	for text, want := range map[string]string{
		"PROXY TCP4 10.0.0.1 10.0.0.2 4000 80\r\nrest":                    "10.0.0.1:4000 10.0.0.2:80",
		"PROXY TCP6 fd00::1 fd00::2 4000 80\r\nrest":                      "[fd00::1]:4000 [fd00::2]:80",
		"PROXY UNKNOWN\r\nrest":                                           "invalid AddrPort invalid AddrPort",
		"PROXY TCP4 fd00::1 10.0.0.2 4000 80\r\nrest":                     "error",
		"PROXY TCP4 10.0.0.1 10.0.0.2 4000 80000\r\n":                     "error",
		"PROXY " + strings.Repeat("x", 200) + "\r\n":                      "error",
		"GET / HTTP/1.1\r\nhost: a\r\n\r\n":                               "error",
		"":                                                                "error",
		v2(0x21, 0x11, 10, 0, 0, 1, 10, 0, 0, 2, 15, 160, 0, 80) + "rest": "10.0.0.1:4000 10.0.0.2:80",
		v2(0x20, 0x00) + "rest":                                           "invalid AddrPort invalid AddrPort",
		v2(0x21, 0x11, 10, 0, 0, 1):                                       "error",
		v2(0x31, 0x11, 10, 0, 0, 1, 10, 0, 0, 2, 15, 160, 0, 80):          "error",
	} {
		r := strings.NewReader(text)
		src, dst, err := readProxyHeader(r)
		got := src.String() + " " + dst.String()
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		if rest, _ := io.ReadAll(r); err == nil && !strings.HasSuffix(text, "\r\n") && string(rest) != "rest" {
			t.Errorf("%q: left %q", text, rest)
		}
	}
}

// echo tells a connection what is known of it, then echoes.
type echo struct{}

func (echo) ServeConn(_ context.Context, c *Conn) {
	done := make(chan struct{})
	c.OnDrain(func() { close(done); _ = c.Net.SetReadDeadline(time.Now()) })
	_, _ = io.WriteString(c.Net, c.Peer.Addr().String()+" "+c.ServerName+"\n")
	_, _ = c.Net.Write(c.Prefix)
	_, _ = io.Copy(c.Net, c.Net)
}

func TestSocketOutlivesListeners(t *testing.T) {
	s := New(slog.New(slog.DiscardHandler), stats.New(stats.Workload{}))
	defer s.Close()
	first := &Listener{Chains: []*Chain{{Name: "a", Handler: echo{}}}}
	second := &Listener{Chains: []*Chain{{Name: "b", Handler: echo{}}}, ProxyProtocol: true}
	for _, l := range []*Listener{first, second} {
		if err := l.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	k, err := s.Open(Address{AddrPort: netip.MustParseAddrPort("127.0.0.1:0")}, first)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(say, want string) net.Conn {
		c, err := net.Dial("tcp", k.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, say)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
		return c
	}
	old := dial("hello", "127.0.0.1 \nhello")
	k.Serve(second)
	fresh := dial("PROXY TCP4 10.1.1.1 10.0.0.2 4000 80\r\nx", "10.1.1.1 \nx")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	first.Chains[0].Drain(ctx)
	if _, err := old.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the drained connection: %v", err)
	}
	if _, err := io.WriteString(fresh, "y"); err != nil {
		t.Error(err)
	}
	if ctx.Err() != nil || second.Chains[0].Active() != 1 {
		t.Error("the drain did not end, or took the wrong connections")
	}
}

// onlyFrom is a network filter.
type onlyFrom string

func (f onlyFrom) Admit(c *Conn) bool { return c.Peer.Addr().String() == string(f) }

// Network filters decide in their order before the handler gets a connection, and see what is known of it by then.
func TestFilters(t *testing.T) {
	s := New(slog.New(slog.DiscardHandler), stats.New(stats.Workload{}))
	defer s.Close()
	for text, want := range map[string]string{"10.1.1.1": "10.1.1.1 \n", "10.1.1.2": ""} {
		l := &Listener{Chains: []*Chain{{Filters: []Filter{onlyFrom("10.1.1.1"), onlyFrom(text)}, Handler: echo{}}}, ProxyProtocol: true}
		if err := l.Prepare(); err != nil {
			t.Fatal(err)
		}
		k, err := s.Open(Address{AddrPort: netip.MustParseAddrPort("127.0.0.1:0")}, l)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", k.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, "PROXY TCP4 10.1.1.1 10.0.0.2 4000 80\r\n")
		_ = c.(*net.TCPConn).CloseWrite()
		if got, _ := io.ReadAll(c); string(got) != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
		_ = c.Close()
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 10.0.0.1 10.0.0.2 4000 80\r\nrest"))
	f.Add([]byte(signature + "\x21\x11\x00\x0c\x0a\x00\x00\x01\x0a\x00\x00\x02\x0f\xa0\x00\x50"))
	f.Fuzz(func(t *testing.T, b []byte) {
		src, dst, err := readProxyHeader(bytes.NewReader(b))
		if err == nil && src.IsValid() != dst.IsValid() {
			t.Errorf("half an answer: %v %v", src, dst)
		}
	})
}

func at(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("10.0.0.9"), port) }

// What is below a connection that was looked into can be found: writes of many records go together there.
func TestPrefixHidesNothing(t *testing.T) {
	c, other := net.Pipe()
	defer other.Close()
	defer c.Close()
	p, ok := withPrefix(c, []byte("x")).(interface{ NetConn() net.Conn })
	if !ok || p.NetConn() != c {
		t.Error("nobody can tell what is below")
	}
}
