package hcm

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	cryptotls "crypto/tls"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/listen"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

const routerFilter = `"http_filters":[{"name":"r","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]`

// manager compiles a HttpConnectionManager that answers everything with 200; options are further fields.
func manager(t *testing.T, options string, log io.Writer) (*Manager, error) {
	t.Helper()
	m := &hcmv3.HttpConnectionManager{}
	if options != "" {
		options += ","
	}
	text := `{` + options + routerFilter + `,"route_config":{"virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"direct_response":{"status":200}}]}]}}`
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	return New(m, &Env{
		Clusters: upstream.NewSet(upstream.Options{}), Metrics: NewMetrics(stats.New(stats.Workload{}), func() string { return "" }), Mirrors: NewMirrors(), Log: slog.New(slog.NewTextHandler(log, nil)),
		Routes: func(string) *Routes { return NewRoutes() },
	})
}

func TestErrorsNameTheField(t *testing.T) {
	for options, want := range map[string]string{
		`"codec_type":"HTTP3"`:                                              "codec_type",
		`"original_ip_detection_extensions":[{"name":"x"}]`:                 "original_ip_detection_extensions",
		`"upgrade_configs":[{"upgrade_type":"a","filters":[{"name":"b"}]}]`: "upgrade_configs[0]",
	} {
		if _, err := manager(t, options, io.Discard); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// A panic ends its connection, is counted and told, and nothing else.
func TestPanicEndsOneConnection(t *testing.T) {
	var log bytes.Buffer
	g, err := manager(t, "", &log)
	if err != nil {
		t.Fatal(err)
	}
	g.chain = nil // whoever runs it panics
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.ServeConn(context.Background(), &listen.Conn{Net: b})
	}()
	_, _ = io.WriteString(a, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	if text, _ := io.ReadAll(a); len(text) != 0 {
		t.Errorf("an answer: %s", text)
	}
	<-done
	if n := g.env.Metrics.Panics.Value(); n != 1 {
		t.Errorf("%d panics counted", n)
	}
	if !strings.Contains(log.String(), "panicked") {
		t.Errorf("the log says %q", log.String())
	}
}

func TestClientCertificate(t *testing.T) {
	leaf := &x509.Certificate{
		Raw: []byte("x"), Subject: pkix.Name{CommonName: `a"b`}, DNSNames: []string{"one.example"},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/a/sa/b"}},
	}
	const hash = "Hash=2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	set := `"set_current_client_cert_details":{"subject":true,"uri":true,"dns":true}`
	for _, c := range []struct {
		details, given, want string
		mutual               bool
	}{
		{"SANITIZE", "By=evil", "", true},
		{"SANITIZE_SET", "By=evil", hash + `;Subject="CN=a\\\"b";URI=spiffe://cluster.local/ns/a/sa/b;DNS=one.example`, true},
		{"SANITIZE_SET", "By=evil", "", false},
		{"APPEND_FORWARD", "By=front", "By=front," + hash + `;Subject="CN=a\\\"b";URI=spiffe://cluster.local/ns/a/sa/b;DNS=one.example`, true},
		{"APPEND_FORWARD", "By=evil", "", false},
		{"FORWARD_ONLY", "By=front", "By=front", true},
		{"FORWARD_ONLY", "By=evil", "", false},
		{"ALWAYS_FORWARD_ONLY", "By=front", "By=front", false},
	} {
		g, err := manager(t, `"forward_client_cert_details":"`+c.details+`",`+set, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		conn := &conn{Conn: &listen.Conn{}, m: g}
		if c.mutual {
			conn.TLS = &cryptotls.ConnectionState{Version: cryptotls.VersionTLS13, PeerCertificates: []*x509.Certificate{leaf}}
			conn.describeTLS(conn.TLS)
		}
		req := &message.Request{Authority: "a"}
		req.Fields.Add("x-forwarded-client-cert", c.given)
		x := &exchange{m: g, c: conn, info: message.Info{Request: req}}
		x.prepare()
		if got, _ := req.Fields.Get("x-forwarded-client-cert"); got != c.want {
			t.Errorf("%s, mutual %v: %q, want %q", c.details, c.mutual, got, c.want)
		}
	}
}

func TestFromRight(t *testing.T) {
	const list = "192.0.2.1, 192.0.2.2 ,fd00::3"
	for n, want := range map[int]string{0: "fd00::3", 1: "192.0.2.2", 2: "192.0.2.1", 3: "invalid IP"} {
		a, ok := fromRight(list, n)
		if a.String() != want || ok != (n < 3) {
			t.Errorf("%d: %v %v", n, a, ok)
		}
	}
	for _, bad := range []string{"", "unknown", "192.0.2.1:80", "fe80::1%eth0"} {
		if a, ok := fromRight(bad, 0); ok {
			t.Errorf("%q is %v", bad, a)
		}
	}
}

func TestStripPort(t *testing.T) {
	for in, want := range map[string]string{"a:80": "a", "a": "a", "[::1]:80": "[::1]", "[::1]": "[::1]", "a:b": "a:b", "a:99999": "a:99999"} {
		x := &exchange{c: &conn{Conn: &listen.Conn{Local: netip.MustParseAddrPort("127.0.0.1:80")}}, info: message.Info{Request: &message.Request{Authority: in}}}
		x.stripPort(&edge{stripPort: true})
		if got := x.info.Request.Authority; got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	x := &exchange{c: &conn{Conn: &listen.Conn{Local: netip.MustParseAddrPort("127.0.0.1:80")}}, info: message.Info{Request: &message.Request{Authority: "a:81"}}}
	x.stripPort(&edge{stripOwnPort: true})
	if x.info.Request.Authority != "a:81" {
		t.Error("another port than ours was stripped")
	}
}

func TestGRPCTimeout(t *testing.T) {
	want := map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "4m": 4 * time.Millisecond, "5u": 5 * time.Microsecond, "6n": 6, "99999999H": 0,
		"1": 0, "S": 0, "-1S": 0, "1x": 0, "123456789S": 0,
	}
	got := map[string]time.Duration{}
	for text := range want {
		var f message.Fields
		f.Add("grpc-timeout", text)
		got[text], _ = grpcTimeout(&f)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestShadow(t *testing.T) {
	for in, want := range map[string]string{"a": "a-shadow", "a:80": "a-shadow:80", "[::1]": "[::1]-shadow", "[::1]:80": "[::1]-shadow:80"} {
		if got := shadow(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestEarliest(t *testing.T) {
	now := time.Now()
	x := times{whole: now.Add(3), try: now.Add(2), quiet: now.Add(4)}
	if at, why := x.earliest(); at != now.Add(2) || why != limitTry {
		t.Errorf("%v %v", at, why)
	}
	if at, why := (&times{}).earliest(); !at.IsZero() || why != noLimit {
		t.Errorf("%v %v", at, why)
	}
}
