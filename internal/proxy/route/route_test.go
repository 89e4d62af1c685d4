package route

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"

	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/format"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// parse reads a RouteConfiguration in a short form of JSON: names may go without quotes.
func parse(t testing.TB, text string) *routev3.RouteConfiguration {
	t.Helper()
	m := &routev3.RouteConfiguration{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return m
}

func compile(t testing.TB, text string) *Table {
	t.Helper()
	table, err := Compile(parse(t, text), Options{Format: format.Options{Hostname: "here"}})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// oneHost wraps routes into a table with one virtual host for all names.
func oneHost(routes string) string {
	return `{"name":"t","virtual_hosts":[{"name":"all","domains":["*"],"routes":[` + routes + `]}]}`
}

// request makes an exchange of "GET host/path name=value ...".
func request(text string) *message.Info {
	words := strings.Fields(text)
	host, path, _ := strings.Cut(words[1], "/")
	r := &message.Request{Method: words[0], Scheme: "http", Authority: host, Path: "/" + path, Version: message.HTTP11}
	for _, w := range words[2:] {
		name, value, _ := strings.Cut(w, "=")
		if name == ":scheme" {
			r.Scheme = value
			continue
		}
		r.Fields.Add(name, value)
	}
	return &message.Info{Request: r, Response: &message.Response{}, Client: netip.MustParseAddrPort("192.0.2.7:1234")}
}

func name(r *Route) string {
	if r == nil {
		return "-"
	}
	return r.Name
}

func TestHosts(t *testing.T) {
	var hosts []string
	for _, d := range []string{
		`"www.example.com"`, `"*.example.com"`, `"*.a.example.com"`, `"*-b.example.com"`, `"example.*"`, `"example.o*"`, `"*"`, `"web.default.svc:8080"`, `"[2001:db8::1]"`,
		`"UPPER.example.net"`,
	} {
		hosts = append(hosts, fmt.Sprintf(`{"name":%s,"domains":[%[1]s],"routes":[{"name":%[1]s,"match":{"prefix":"/"},"route":{"cluster":"c"}}]}`, d))
	}
	list := strings.Join(hosts, ",")
	for _, c := range []struct {
		ignorePort bool
		host, want string
	}{
		{false, "www.example.com", "www.example.com"},
		{false, "WWW.Example.COM", "www.example.com"},
		{false, "x.example.com", "*.example.com"},
		{false, ".example.com", "*"},
		{false, "x.y.example.com", "*.example.com"},
		{false, "x.a.example.com", "*.a.example.com"},
		{false, "x-b.example.com", "*-b.example.com"},
		{false, "-b.example.com", "*.example.com"},
		{false, "example.com", "example.*"},
		{false, "example.org", "example.o*"},
		{false, "example.", "*"},
		{false, "upper.EXAMPLE.net", "UPPER.example.net"},
		{false, "www.example.com:80", "*"},
		{true, "www.example.com:80", "www.example.com"},
		{true, "www.example.com:x", "*"},
		{false, "web.default.svc:8080", "web.default.svc:8080"},
		{true, "[2001:db8::1]:443", "[2001:db8::1]"},
		{true, "[2001:db8::1]", "[2001:db8::1]"},
		{false, "", "*"},
	} {
		table := compile(t, fmt.Sprintf(`{"ignore_port_in_host_matching":%t,"virtual_hosts":[%s]}`, c.ignorePort, list))
		x := request("GET x/")
		x.Request.Authority = c.host
		if got := name(table.Match(x)); got != c.want {
			t.Errorf("%q (ignoring ports: %t): %s, want %s", c.host, c.ignorePort, got, c.want)
		}
	}
	if table := compile(t, `{"virtual_hosts":[{"name":"a","domains":["a"],"routes":[]}]}`); table.Match(request("GET b/")) != nil || table.Match(request("GET a/")) != nil {
		t.Error("a route where there is none")
	}
}

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		match   string
		yes, no []string
	}{
		{`"prefix":"/a"`, []string{"GET h/a", "GET h/ab", "GET h/a/b?c"}, []string{"GET h/", "GET h/A", "GET h/?/a"}},
		{`"prefix":""`, []string{"GET h/", "GET h/x"}, nil},
		{`"prefix":"/a","case_sensitive":false`, []string{"GET h/a", "GET h/Ab"}, []string{"GET h/b"}},
		{`"path":"/a"`, []string{"GET h/a", "GET h/a?b=c", "GET h/a#b"}, []string{"GET h/a/", "GET h/A"}},
		{`"path":"/A","case_sensitive":false`, []string{"GET h/a", "GET h/A?b"}, []string{"GET h/\u212a"}},
		{`"path_separated_prefix":"/a/b"`, []string{"GET h/a/b", "GET h/a/b/", "GET h/a/b/c", "GET h/a/b?c"}, []string{"GET h/a/bc", "GET h/a", "GET h/A/b"}},
		{`"path_separated_prefix":"/a/b","case_sensitive":false`, []string{"GET h/A/b/c"}, []string{"GET h/A/bc"}},
		{`"safe_regex":{"regex":"/a|/b.*"}`, []string{"GET h/a", "GET h/b", "GET h/bcd?e"}, []string{"GET h/ab", "GET h/x/a"}},
		{`"prefix":"/","headers":[{"name":"X-A","string_match":{"exact":"1"}}]`, []string{"GET h/ x-a=1"}, []string{"GET h/", "GET h/ x-a=12", "GET h/ x-a=1 x-a=1"}},
		{`"prefix":"/","headers":[{"name":"x-a","string_match":{"exact":"1,2"}}]`, []string{"GET h/ x-a=1 x-b=0 x-a=2", "GET h/ x-a=1,2"}, []string{"GET h/ x-a=2 x-a=1"}},
		{`"prefix":"/","headers":[{"name":"x-a","string_match":{"prefix":"Ab","ignore_case":true}}]`, []string{"GET h/ x-a=aBc"}, []string{"GET h/ x-a=a"}},
		{`"prefix":"/","headers":[{"name":"x-a","string_match":{"suffix":"b"}}]`, []string{"GET h/ x-a=ab"}, []string{"GET h/ x-a=ba"}},
		{`"prefix":"/","headers":[{"name":"x-a","string_match":{"contains":"B","ignore_case":true}}]`, []string{"GET h/ x-a=abc"}, []string{"GET h/ x-a=ac"}},
		{`"prefix":"/","headers":[{"name":"x-a","string_match":{"contains":"b"}}]`, []string{"GET h/ x-a=abc"}, []string{"GET h/ x-a=aBc"}},
		{`"prefix":"/","headers":[{"name":"x-a","string_match":{"safe_regex":{"regex":"a+"}}}]`, []string{"GET h/ x-a=aa"}, []string{"GET h/ x-a=aab", "GET h/"}},
		{`"prefix":"/","headers":[{"name":"x-a","present_match":true}]`, []string{"GET h/ x-a="}, []string{"GET h/"}},
		{`"prefix":"/","headers":[{"name":"x-a","present_match":false}]`, []string{"GET h/"}, []string{"GET h/ x-a="}},
		{`"prefix":"/","headers":[{"name":"x-a","present_match":true,"invert_match":true}]`, []string{"GET h/"}, []string{"GET h/ x-a=1"}},
		{`"prefix":"/","headers":[{"name":"x-a","string_match":{"exact":"1"},"invert_match":true}]`, []string{"GET h/ x-a=2"}, []string{"GET h/ x-a=1", "GET h/"}},
		{`"prefix":"/","headers":[{"name":"x-a","string_match":{"exact":"1"},"invert_match":true,"treat_missing_header_as_empty":true}]`, []string{"GET h/ x-a=2", "GET h/"},
			[]string{"GET h/ x-a=1"}},
		{`"prefix":"/","headers":[{"name":"x-a","string_match":{"exact":""},"treat_missing_header_as_empty":true}]`, []string{"GET h/"}, []string{"GET h/ x-a=1"}},
		{`"prefix":"/","headers":[{"name":"x-a","range_match":{"start":"-1","end":"5"}}]`, []string{"GET h/ x-a=-1", "GET h/ x-a=4"}, []string{"GET h/ x-a=5", "GET h/ x-a=x", "GET h/"}},
		{`"prefix":"/","headers":[{"name":":method","string_match":{"exact":"POST"}}]`, []string{"POST h/"}, []string{"GET h/"}},
		{`"prefix":"/","headers":[{"name":":path","string_match":{"suffix":"?q"}}]`, []string{"GET h/?q"}, []string{"GET h/"}},
		{`"prefix":"/","headers":[{"name":":authority","string_match":{"exact":"h"}},{"name":"Host","string_match":{"exact":"h"}}]`, []string{"GET h/"}, []string{"GET i/"}},
		{`"prefix":"/","headers":[{"name":":scheme","string_match":{"exact":"https"}}]`, []string{"GET h/ :scheme=https"}, []string{"GET h/"}},
		{`"prefix":"/","query_parameters":[{"name":"q","string_match":{"exact":"1"}}]`, []string{"GET h/?q=1", "GET h/?a&q=1&q=2"}, []string{"GET h/", "GET h/?q=2&q=1", "GET h/?q"}},
		{`"prefix":"/","query_parameters":[{"name":"q","present_match":true},{"name":"r","present_match":false}]`, []string{"GET h/?q"}, []string{"GET h/?q&r=", "GET h/"}},
		{`"prefix":"/","grpc":{}`, []string{"POST h/ content-type=application/grpc", "POST h/ content-type=application/grpc+proto"},
			[]string{"POST h/", "POST h/ content-type=application/grpc-web"}},
		{`"prefix":"/","runtime_fraction":{"default_value":{"numerator":100}}`, []string{"GET h/"}, nil},
		{`"prefix":"/","runtime_fraction":{"default_value":{"numerator":0}}`, nil, []string{"GET h/"}},
	} {
		table := compile(t, oneHost(`{"name":"r","match":{`+c.match+`},"route":{"cluster":"c"}}`))
		for _, text := range c.yes {
			if table.Match(request(text)) == nil {
				t.Errorf("%s does not match %s", text, c.match)
			}
			if _, tried := table.Explain(request(text)); tried[0].Failed != "" {
				t.Errorf("%s: explained as failing %s", text, tried[0].Failed)
			}
		}
		for _, text := range c.no {
			if table.Match(request(text)) != nil {
				t.Errorf("%s matches %s", text, c.match)
			}
			if _, tried := table.Explain(request(text)); tried[0].Failed == "" {
				t.Errorf("%s: explained as matching %s", text, c.match)
			}
		}
	}
}

func TestConnect(t *testing.T) {
	table := compile(t, oneHost(`{"name":"any","match":{"prefix":"/"},"route":{"cluster":"c"}},{"name":"connect","match":{"connect_matcher":{}},"route":{"cluster":"c"}}`))
	x := &message.Info{Request: &message.Request{Method: "CONNECT", Authority: "h:443"}}
	if got := name(table.Match(x)); got != "connect" {
		t.Errorf("CONNECT: %s", got)
	}
	x.Request.Protocol, x.Request.Path = "websocket", "/chat"
	if got := name(table.Match(x)); got != "any" {
		t.Errorf("extended CONNECT: %s", got)
	}
}

func TestRequireTLS(t *testing.T) {
	vhost := `{"virtual_hosts":[{"name":"v","domains":["*"],"require_tls":"%s","routes":[{"name":"r","match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}`
	for _, c := range []struct{ require, request, want string }{
		{"NONE", "GET h/", "r"},
		{"ALL", "GET h/", "require_tls"},
		{"ALL", "GET h/ :scheme=https", "r"},
		{"ALL", "GET h/ x-forwarded-proto=https", "r"},
		{"ALL", "GET h/ x-envoy-internal=true", "require_tls"},
		{"EXTERNAL_ONLY", "GET h/ x-envoy-internal=true", "r"},
		{"EXTERNAL_ONLY", "GET h/", "require_tls"},
	} {
		r := compile(t, fmt.Sprintf(vhost, c.require)).Match(request(c.request))
		if name(r) != c.want {
			t.Errorf("%s, %s: %s, want %s", c.require, c.request, name(r), c.want)
		}
		reply := filter.Reply{Response: &message.Response{}}
		if x := request("GET h:80/a?b"); r.Answer(x, &reply) {
			if got, _ := reply.Response.Fields.Get("location"); got != "https://h/a?b" || reply.Response.Status != 301 {
				t.Errorf("redirected to %s with %d", got, reply.Response.Status)
			}
		}
	}
}

// However a route is found, it is the one that trying them in order finds.
func TestIndexKeepsTheOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		s := ""
		for range rng.IntN(4) {
			s += string("/abA"[rng.IntN(4)])
		}
		return "/" + s
	}
	seen := map[bool]int{}
	for range 300 {
		rc := &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{Name: "v", Domains: []string{"*"}}}}
		for i := range 2 + rng.IntN(60) {
			m := &routev3.RouteMatch{CaseSensitive: wrapperspb.Bool(rng.IntN(3) > 0)}
			path := word()
			switch rng.IntN(4) {
			case 0:
				m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: path}
			case 1:
				m.PathSpecifier = &routev3.RouteMatch_Path{Path: path}
			case 2:
				m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/x" + strings.TrimRight(path, "/")}
			case 3:
				m = parse(t, oneHost(`{"match":{"safe_regex":{"regex":"`+path+`[ab]?"}},"route":{"cluster":"c"}}`)).VirtualHosts[0].Routes[0].Match
			}
			if rng.IntN(3) == 0 {
				m.Headers = []*routev3.HeaderMatcher{{Name: "h", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: rng.IntN(2) == 0}}}
			}
			rc.VirtualHosts[0].Routes = append(rc.VirtualHosts[0].Routes, &routev3.Route{
				Name: fmt.Sprint(i), Match: m, Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "c"}}},
			})
		}
		table, err := Compile(rc, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			text := "GET h" + word()
			if rng.IntN(4) == 0 {
				text = "GET h/x" + word()
			}
			if rng.IntN(2) == 0 {
				text += " h=1"
			}
			var want *Route
			if _, tried := table.Explain(request(text)); len(tried) > 0 && tried[len(tried)-1].Failed == "" {
				want = tried[len(tried)-1].Route
			}
			if got := table.Match(request(text)); got != want {
				t.Fatalf("%s: %s, in order it is %s", text, name(got), name(want))
			}
			seen[want != nil]++
		}
	}
	if seen[true] < 1000 || seen[false] < 1000 {
		t.Errorf("the test says little: %v", seen)
	}
}

// manyRoutes is a table of n routes below one host and as many hosts.
func manyRoutes(t testing.TB, n int) *Table {
	rc := &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{Name: "many", Domains: []string{"many"}}}}
	forward := &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "c"}}}
	for i := range n {
		r := &routev3.Route{Name: fmt.Sprint(i), Action: forward, Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: fmt.Sprintf("/p/%d/", i)}}}
		if i%2 == 0 {
			r.Match.PathSpecifier = &routev3.RouteMatch_Path{Path: fmt.Sprintf("/e/%d", i)}
		}
		rc.VirtualHosts[0].Routes = append(rc.VirtualHosts[0].Routes, r)
		rc.VirtualHosts = append(rc.VirtualHosts, &routev3.VirtualHost{Name: fmt.Sprint(i), Domains: []string{fmt.Sprintf("h%d", i)}, Routes: []*routev3.Route{r}})
	}
	table, err := Compile(rc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestMatchingAllocatesNothing(t *testing.T) {
	many := manyRoutes(t, 1000)
	full := compile(t, `{"ignore_port_in_host_matching":true,"virtual_hosts":[{"name":"v","domains":["*.Example.com"],"routes":[
		{"match":{"path":"/A","case_sensitive":false,"headers":[{"name":"x","present_match":true}]},"route":{"cluster":"c"}},
		{"match":{"safe_regex":{"regex":"/.*/end"}},"route":{"cluster":"c"}},
		{"name":"r","match":{"prefix":"/a","headers":[{"name":"x-a","string_match":{"exact":"1,2"}}],"query_parameters":[{"name":"q","string_match":{"prefix":"v"}}],
			"runtime_fraction":{"default_value":{"numerator":100}}},
			"route":{"weighted_clusters":{"clusters":[{"name":"a","weight":1},{"name":"b","weight":1}]},"prefix_rewrite":"/b","host_rewrite_literal":"up",
			"append_x_forwarded_host":true,"hash_policy":[{"header":{"header_name":"x-a"}},{"connection_properties":{"source_ip":true}},{"cookie":{"name":"k"}}]},
			"request_headers_to_add":[{"header":{"key":"x-from","value":"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(x-a?:path):10%"}}],"request_headers_to_remove":["x-b"],
			"response_headers_to_add":[{"header":{"key":"x-r","value":"1"}}]}]}]}`)
	for _, c := range []struct {
		table      *Table
		text, want string
	}{
		{many, "GET many/e/500", "500"},
		{many, "GET many/p/501/x?y", "501"},
		{many, "GET H77/p/77/", "77"},
		{full, "GET WWW.example.COM:80/abc?q=v x-a=1 x-a=2 x-b=3 x-b=4 cookie=k=v", "r"},
	} {
		x := request(c.text)
		fields := append([]message.Field(nil), x.Request.Fields.All()...)
		authority, path := x.Request.Authority, x.Request.Path
		run := func() {
			x.Request.Fields.Reset()
			x.Response.Fields.Reset()
			x.Request.Authority, x.Request.Path = authority, path
			for _, f := range fields {
				x.Request.Fields.Add(f.Name, f.Value)
			}
			r := c.table.Match(x)
			if name(r) != c.want {
				t.Fatalf("%s: %s", c.text, name(r))
			}
			d := r.Forward.Pick(x)
			r.Forward.Hash(x)
			r.Forward.PrepareRequest(d, x)
			d.FinishResponse(x)
		}
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s: %v allocations", c.text, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		table := manyRoutes(b, n)
		for _, text := range []string{fmt.Sprintf("GET many/e/%d", (n-1)/2*2), fmt.Sprintf("GET h%d/p/%d/x", n-1, n-1)} {
			b.Run(fmt.Sprintf("%d routes/%s", n, text), func(b *testing.B) {
				x := request(text)
				b.ReportAllocs()
				for b.Loop() {
					table.Match(x)
				}
			})
		}
	}
}

func TestExplain(t *testing.T) {
	table := compile(t, oneHost(`
		{"name":"a","match":{"prefix":"/a"},"route":{"cluster":"c"},"metadata":{"filter_metadata":{"weft":{"origin":"VirtualService default/a spec.http[0]"}}}},
		{"name":"b","match":{"prefix":"/","headers":[{"name":"x-v","string_match":{"exact":"2"}}]},"route":{"cluster":"c"}},
		{"name":"c","match":{"prefix":"/","query_parameters":[{"name":"q","present_match":true}]},"route":{"cluster":"c"}},
		{"name":"d","match":{"path":"/B","case_sensitive":false},"route":{"cluster":"c"},"decorator":{"operation":"op"}},
		{"name":"e","match":{"prefix":"/"},"route":{"cluster":"c"}}`))
	v, tried := table.Explain(request("GET h/b"))
	var got []string
	for _, c := range tried {
		got = append(got, c.Route.Name+": "+c.Failed)
	}
	if d := cmp.Diff([]string{"a: path prefix /a", `b: header x-v "2"`, "c: query parameter q present", "d: "}, got); d != "" || v.Name != "all" {
		t.Error(d)
	}
	if tried[0].Route.Origin != "VirtualService default/a spec.http[0]" || tried[3].Route.Operation != "op" {
		t.Errorf("%q, %q", tried[0].Route.Origin, tried[3].Route.Operation)
	}
	if v, tried := compile(t, `{}`).Explain(request("GET h/b")); v != nil || tried != nil {
		t.Error(v, tried)
	}
}
