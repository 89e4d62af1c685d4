package route

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// text writes a request as request reads it.
func text(r *message.Request) string {
	s := r.Method + " " + r.Authority + r.Path
	for _, f := range r.Fields.All() {
		s += " " + f.Name + "=" + f.Value
	}
	return s
}

func TestRewrite(t *testing.T) {
	for _, c := range []struct{ match, action, in, want string }{
		{`"prefix":"/a"`, ``, "GET h/a?b", "GET h/a?b"},
		{`"prefix":"/a"`, `"prefix_rewrite":"/x"`, "GET h/a/b?c=d", "GET h/x/b?c=d x-envoy-original-path=/a/b?c=d"},
		{`"prefix":"/a/"`, `"prefix_rewrite":"/"`, "GET h/a/b", "GET h/b x-envoy-original-path=/a/b"},
		{`"prefix":"/a","case_sensitive":false`, `"prefix_rewrite":"/x"`, "GET h/AB", "GET h/xB x-envoy-original-path=/AB"},
		{`"path":"/a"`, `"prefix_rewrite":"/x/y"`, "GET h/a?b", "GET h/x/y?b x-envoy-original-path=/a?b"},
		{`"path_separated_prefix":"/a"`, `"prefix_rewrite":"/x"`, "GET h/a/b", "GET h/x/b x-envoy-original-path=/a/b"},
		{`"safe_regex":{"regex":"/a/.*"}`, `"prefix_rewrite":"/x"`, "GET h/a/b?c", "GET h/x?c x-envoy-original-path=/a/b?c"},
		{`"prefix":"/"`, `"regex_rewrite":{"pattern":{"regex":"^/service/([^/]+)(/.*)$"},"substitution":"\\2/instance/\\1"}`, "GET h/service/foo/v1?q=/service/x",
			"GET h/v1/instance/foo?q=/service/x x-envoy-original-path=/service/foo/v1?q=/service/x"},
		{`"prefix":"/"`, `"regex_rewrite":{"pattern":{"regex":"one"},"substitution":"$1\\0"}`, "GET h/xone/one", "GET h/x$1one/$1one x-envoy-original-path=/xone/one"},
		{`"prefix":"/"`, `"host_rewrite_literal":"up"`, "GET h/", "GET up/ x-envoy-original-host=h"},
		{`"prefix":"/"`, `"host_rewrite_literal":"up","append_x_forwarded_host":true`, "GET h/", "GET up/ x-forwarded-host=h x-envoy-original-host=h"},
		{`"prefix":"/"`, `"host_rewrite_literal":"up","append_x_forwarded_host":true`, "GET h/ x-forwarded-host=a,h", "GET up/ x-forwarded-host=a,h x-envoy-original-host=h"},
		{`"prefix":"/"`, `"host_rewrite_literal":"up","append_x_forwarded_host":true`, "GET h/ x-forwarded-host=h,a", "GET up/ x-forwarded-host=h,a,h x-envoy-original-host=h"},
		{`"prefix":"/"`, `"host_rewrite_header":"X-Host"`, "GET h/ x-host=up", "GET up/ x-host=up x-envoy-original-host=h"},
		{`"prefix":"/"`, `"host_rewrite_header":"X-Host"`, "GET h/", "GET h/"},
		{`"prefix":"/"`, `"host_rewrite_path_regex":{"pattern":{"regex":"^/(.+)/.+$"},"substitution":"\\1"}`, "GET h/up/x", "GET up/up/x x-envoy-original-host=h"},
	} {
		action := `"cluster":"c"`
		if c.action != "" {
			action += "," + c.action
		}
		table := compile(t, oneHost(`{"match":{`+c.match+`},"route":{`+action+`}}`))
		x := request(c.in)
		r := table.Match(x)
		r.Forward.PrepareRequest(r.Forward.Pick(x), x)
		if got := text(x.Request); got != c.want {
			t.Errorf("%s, %s: %s\nbecomes %s\nwant    %s", c.match, c.action, c.in, got, c.want)
		}
	}
}

func TestRedirect(t *testing.T) {
	for _, c := range []struct{ match, redirect, in, want string }{
		{`"prefix":"/"`, ``, "GET h/a?b", "301 http://h/a?b"},
		{`"prefix":"/"`, `"https_redirect":true`, "GET h/a?b", "301 https://h/a?b"},
		{`"prefix":"/"`, `"https_redirect":true`, "GET h:80/", "301 https://h/"},
		{`"prefix":"/"`, `"https_redirect":true`, "GET h:8080/", "301 https://h:8080/"},
		{`"prefix":"/"`, `"https_redirect":true`, "GET [2001:db8::1]/", "301 https://[2001:db8::1]/"},
		{`"prefix":"/"`, `"https_redirect":true`, "GET [2001:db8::1]:80/", "301 https://[2001:db8::1]/"},
		{`"prefix":"/"`, `"scheme_redirect":"http"`, "GET h:443/ :scheme=https", "301 http://h/"},
		{`"prefix":"/"`, `"https_redirect":true,"port_redirect":8443`, "GET h:8080/", "301 https://h:8443/"},
		{`"prefix":"/"`, `"host_redirect":"n","response_code":"FOUND"`, "GET h:1/a", "302 http://n/a"},
		{`"prefix":"/"`, `"response_code":"SEE_OTHER"`, "GET h/", "303 http://h/"},
		{`"prefix":"/"`, `"response_code":"TEMPORARY_REDIRECT"`, "GET h/", "307 http://h/"},
		{`"prefix":"/"`, `"response_code":"PERMANENT_REDIRECT"`, "GET h/", "308 http://h/"},
		{`"prefix":"/"`, `"path_redirect":"/x"`, "GET h/a?b", "301 http://h/x?b"},
		{`"prefix":"/"`, `"path_redirect":"/x","strip_query":true`, "GET h/a?b", "301 http://h/x"},
		{`"prefix":"/"`, `"path_redirect":"/x?y","strip_query":true`, "GET h/a?b", "301 http://h/x?y"},
		{`"prefix":"/"`, `"strip_query":true`, "GET h/a?b", "301 http://h/a"},
		{`"prefix":"/a"`, `"prefix_rewrite":"/x"`, "GET h/a/b?c", "301 http://h/x/b?c"},
		{`"prefix":"/"`, `"regex_rewrite":{"pattern":{"regex":"/a/(.*)"},"substitution":"/\\1"}`, "GET h/a/b?c", "301 http://h/b?c"},
	} {
		table := compile(t, oneHost(`{"match":{`+c.match+`},"redirect":{`+c.redirect+`},"response_headers_to_add":[{"header":{"key":"x-r","value":"%ROUTE_NAME%1"}}]}`))
		x := request(c.in)
		reply := filter.Reply{Response: x.Response}
		if !table.Match(x).Answer(x, &reply) {
			t.Fatal("no answer")
		}
		location, _ := x.Response.Fields.Get("location")
		if got := fmt.Sprint(x.Response.Status, " ", location); got != c.want {
			t.Errorf("%s: %s: %s, want %s", c.redirect, c.in, got, c.want)
		}
		if v, _ := x.Response.Fields.Get("x-r"); v != "1" {
			t.Errorf("x-r: %q", v)
		}
	}
}

func TestDirect(t *testing.T) {
	table := compile(t, oneHost(`{"match":{"path":"/b"},"direct_response":{"status":404,"body":{"inline_string":"nothing here"}}},
		{"match":{"prefix":"/f"},"route":{"cluster":"c"}},{"match":{"prefix":"/"},"direct_response":{"status":204}}`))
	x := request("GET h/b")
	reply := filter.Reply{Response: x.Response}
	if !table.Match(x).Answer(x, &reply) || x.Response.Status != 404 || string(reply.Body) != "nothing here" {
		t.Errorf("%+v", reply)
	}
	x = request("GET h/")
	reply = filter.Reply{Response: x.Response}
	if !table.Match(x).Answer(x, &reply) || x.Response.Status != 204 || reply.Body != nil || x.Response.Fields.Len() != 0 {
		t.Errorf("%+v", reply)
	}
	if x = request("GET h/f"); table.Match(x).Answer(x, &reply) {
		t.Error("a route that forwards answers itself")
	}
}

func TestHeaderOperations(t *testing.T) {
	add := func(key, value, action string) string {
		return fmt.Sprintf(`{"header":{"key":%q,"value":%q},"append_action":%q}`, key, value, action)
	}
	levels := func(option, action string) string {
		at := func(level string) string {
			return `"request_headers_to_add":[` + add("x-l", level, action) + `],"response_headers_to_add":[` + add("x-l", level, action) + `]`
		}
		return `{` + option + at("table") + `,"virtual_hosts":[{"name":"v","domains":["*"],` + at("host") + `,"routes":[{"match":{"prefix":"/"},` + at("route") +
			`,"route":{"weighted_clusters":{"clusters":[{"name":"c","weight":1,` + at("cluster") + `}]}}}]}]}`
	}
	route := func(ops string) string {
		return oneHost(`{"name":"the route","match":{"prefix":"/"},"route":{"cluster":"c"},` + ops + `}`)
	}
	for _, c := range []struct{ config, in, request, response string }{
		{levels(``, "APPEND_IF_EXISTS_OR_ADD"), "GET h/", "GET h/ x-l=cluster x-l=route x-l=host x-l=table", "x-l=cluster x-l=route x-l=host x-l=table"},
		{levels(``, "OVERWRITE_IF_EXISTS_OR_ADD"), "GET h/", "GET h/ x-l=table", "x-l=table"},
		{levels(`"most_specific_header_mutations_wins":true,`, "OVERWRITE_IF_EXISTS_OR_ADD"), "GET h/", "GET h/ x-l=cluster", "x-l=cluster"},
		{levels(``, "ADD_IF_ABSENT"), "GET h/", "GET h/ x-l=cluster", "x-l=cluster"},
		{levels(``, "OVERWRITE_IF_EXISTS"), "GET h/", "GET h/", ""},
		{levels(``, "OVERWRITE_IF_EXISTS"), "GET h/ x-l=0 a=1", "GET h/ x-l=table a=1", ""},
		{route(`"request_headers_to_remove":["X-A"],"request_headers_to_add":[` + add("x-a", "1", "APPEND_IF_EXISTS_OR_ADD") + `]`), "GET h/ x-a=0 x-b=2 x-a=3", "GET h/ x-b=2 x-a=1", ""},
		{route(`"request_headers_to_add":[{"header":{"key":"x-a","value":"1"},"append":false}]`), "GET h/ x-a=0", "GET h/ x-a=1", ""},
		{route(`"request_headers_to_add":[{"header":{"key":"x-a","value":"1"},"append":true}]`), "GET h/ x-a=0", "GET h/ x-a=0 x-a=1", ""},
		// Values are those from before the changes.
		{route(`"request_headers_to_add":[` + add("x-a", "%REQ(x-b)%", "OVERWRITE_IF_EXISTS_OR_ADD") + `,` + add("x-b", "%REQ(x-a)%", "OVERWRITE_IF_EXISTS_OR_ADD") + `]`),
			"GET h/ x-a=1 x-b=2", "GET h/ x-a=2 x-b=1", ""},
		// A value that is not there adds nothing, unless that is asked for.
		{route(`"request_headers_to_add":[` + add("x-a", "%REQ(none)%", "OVERWRITE_IF_EXISTS_OR_ADD") + `,{"header":{"key":"x-e"},"keep_empty_value":true}]`), "GET h/ x-a=1", "GET h/ x-a=1 x-e=", ""},
		{route(`"request_headers_to_add":[` + add("x-a", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %PROTOCOL% 100%% %HOSTNAME%", "APPEND_IF_EXISTS_OR_ADD") + `]`), "GET h/",
			"GET h/ x-a=192.0.2.7 HTTP/1.1 100% here", ""},
		// What frames a message is not for routes to say.
		{route(`"request_headers_to_remove":["content-length"],"request_headers_to_add":[` + add("Transfer-Encoding", "chunked", "APPEND_IF_EXISTS_OR_ADD") + `]`), "GET h/ content-length=3",
			"GET h/ content-length=3", ""},
		{route(`"response_headers_to_remove":["server"],"response_headers_to_add":[` + add("x-a", "%REQ(:path)%", "APPEND_IF_EXISTS_OR_ADD") + `]`), "GET h/p", "GET h/p", "x-a=/p"},
	} {
		table := compile(t, c.config)
		x := request(c.in)
		r := table.Match(x)
		d := r.Forward.Pick(x)
		x.Response.Fields.Add("server", "up")
		r.Forward.PrepareRequest(d, x)
		d.FinishResponse(x)
		if got := text(x.Request); got != c.request {
			t.Errorf("%s\nbecomes %s\nwant    %s", c.config, got, c.request)
		}
		var fields []string
		for _, f := range x.Response.Fields.All() {
			if f.Name != "server" {
				fields = append(fields, f.Name+"="+f.Value)
			}
		}
		if got := strings.Join(fields, " "); got != c.response {
			t.Errorf("%s\nresponse %s\nwant     %s", c.config, got, c.response)
		}
		if _, ok := x.Response.Fields.Get("server"); ok == strings.Contains(c.config, `["server"]`) {
			t.Errorf("%s: server there: %t", c.config, ok)
		}
	}
}

// Weights are kept to, and within a fraction of the requests as well.
func TestWeights(t *testing.T) {
	table := compile(t, oneHost(`
		{"name":"half","match":{"prefix":"/","runtime_fraction":{"default_value":{"numerator":50}}},
			"route":{"weighted_clusters":{"clusters":[{"name":"a","weight":90},{"name":"none","weight":0},{"name":"b","weight":10}]}}},
		{"name":"other","match":{"prefix":"/"},"route":{"weighted_clusters":{"clusters":[{"name":"a","weight":1},{"name":"b","weight":1},{"name":"c","weight":1}]}}}`))
	rng := rand.New(rand.NewPCG(3, 4))
	const n = 100_000
	got := map[string]int{}
	for range n {
		x := request("GET h/")
		x.Random = rng.Uint64()
		r := table.Match(x)
		d := r.Forward.Pick(x)
		if d != r.Forward.Pick(x) || table.Match(x) != r {
			t.Fatal("deciding again gives another answer")
		}
		got[r.Name+" "+d.ClusterOf(x.Request)]++
	}
	want := map[string]float64{"half a": .45, "half b": .05, "other a": .5 / 3, "other b": .5 / 3, "other c": .5 / 3}
	for k, p := range want {
		if dev := math.Abs(float64(got[k]) - n*p); dev > 5*math.Sqrt(n*p*(1-p)) {
			t.Errorf("%s: %d of %d, want a share of %.3f", k, got[k], n, p)
		}
	}
	if len(got) != len(want) {
		t.Error(got)
	}
}

func TestPick(t *testing.T) {
	table := compile(t, oneHost(`
		{"match":{"prefix":"/number"},"route":{"weighted_clusters":{"header_name":"X-N","clusters":[{"name":"a","weight":2},{"name":"b","weight":1}]}}},
		{"match":{"prefix":"/hash"},"route":{"weighted_clusters":{"use_hash_policy":true,"clusters":[{"name":"a","weight":1},{"name":"b","weight":1}]},
			"hash_policy":[{"header":{"header_name":"x-h"}}]}},
		{"match":{"prefix":"/header"},"route":{"cluster_header":"X-Cluster","cluster_not_found_response_code":"NOT_FOUND"}}`))
	for n, want := range map[int]string{0: "a", 1: "a", 2: "b", 5: "b", 6: "a"} {
		x := request(fmt.Sprintf("GET h/number x-n=%d", n))
		if got := table.Match(x).Forward.Pick(x).Cluster; got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	seen := map[string]bool{}
	for i := range 100 {
		x := request(fmt.Sprintf("GET h/hash x-h=%d", i))
		first := table.Match(x).Forward.Pick(x)
		x.Random = 99
		if table.Match(x).Forward.Pick(x) != first {
			t.Error("the hash does not decide")
		}
		seen[first.Cluster] = true
	}
	if len(seen) != 2 {
		t.Error(seen)
	}
	x := request("GET h/header x-cluster=c")
	f := table.Match(x).Forward
	if f.Pick(x).ClusterOf(x.Request) != "c" || f.NotFoundStatus != 404 {
		t.Error("cluster_header is not looked at")
	}
	x = request("GET h/header")
	if got := f.Pick(x).ClusterOf(x.Request); got != "" {
		t.Error(got)
	}
}

func TestHash(t *testing.T) {
	forward := func(policies string) *Forward {
		return compile(t, oneHost(`{"match":{"prefix":"/"},"route":{"cluster":"c","hash_policy":[`+policies+`]}}`)).Match(request("GET h/")).Forward
	}
	for _, c := range []struct {
		policies, a, b string
		same           bool
	}{
		{`{"header":{"header_name":"X-H"}}`, "GET h/ x-h=1", "GET h/?a x-h=1", true},
		{`{"header":{"header_name":"X-H"}}`, "GET h/ x-h=1", "GET h/ x-h=2", false},
		{`{"header":{"header_name":"x-h","regex_rewrite":{"pattern":{"regex":"-.*"},"substitution":""}}}`, "GET h/ x-h=1-a", "GET h/ x-h=1-b", true},
		{`{"header":{"header_name":":authority"}}`, "GET h/", "GET i/", false},
		{`{"query_parameter":{"name":"q"}}`, "GET h/?a&q=1", "GET h/b?q=1", true},
		{`{"query_parameter":{"name":"q"}}`, "GET h/?q=1", "GET h/?q=2", false},
		{`{"cookie":{"name":"k"}}`, `GET h/ cookie=a=b;k="1"`, "GET h/ cookie=k=1;c=d", true},
		{`{"cookie":{"name":"k"}}`, "GET h/ cookie=k=1", "GET h/ cookie=k=2", false},
		{`{"connection_properties":{"source_ip":true}}`, "GET h/ a=b", "GET i/", true},
		{`{"header":{"header_name":"x-h"}},{"header":{"header_name":"x-i"}}`, "GET h/ x-h=1 x-i=1", "GET h/ x-h=1 x-i=2", false},
		{`{"header":{"header_name":"x-h"},"terminal":true},{"header":{"header_name":"x-i"}}`, "GET h/ x-h=1 x-i=1", "GET h/ x-h=1 x-i=2", true},
	} {
		f := forward(c.policies)
		a, ok1, _ := f.Hash(request(c.a))
		b, ok2, _ := f.Hash(request(c.b))
		if !ok1 || !ok2 || (a == b) != c.same {
			t.Errorf("%s: %s gives %x, %s %x", c.policies, c.a, a, c.b, b)
		}
	}
	if _, ok, _ := forward(``).Hash(request("GET h/")); ok {
		t.Error("a hash that nobody asked for")
	}
	if _, ok, _ := forward(`{"header":{"header_name":"x-h"}},{"cookie":{"name":"k"}}`).Hash(request("GET h/")); ok {
		t.Error("a hash of nothing")
	}

	// A client without a cookie gets one, by which it is known later.
	f := forward(`{"cookie":{"name":"k","ttl":"3600s","path":"/p","attributes":[{"name":"SameSite","value":"Lax"}]}}`)
	x := request("GET h/")
	x.Random = 7
	hash, ok, cookie := f.Hash(x)
	if !ok || cookie == nil {
		t.Fatal("no cookie")
	}
	if again, _, _ := f.Hash(x); again != hash {
		t.Error("asking again gives another hash")
	}
	set := string(cookie.Append(nil))
	if want := `k="` + cookie.Value + `"; Max-Age=3600; Path=/p; SameSite=Lax; HttpOnly`; set != want {
		t.Errorf("%s, want %s", set, want)
	}
	x = request("GET h/ cookie=k=" + cookie.Value)
	if again, _, fresh := f.Hash(x); again != hash || fresh != nil {
		t.Error("the cookie does not lead back")
	}
}

func TestForward(t *testing.T) {
	table := compile(t, `{"request_mirror_policies":[{"cluster":"of the table"}],"virtual_hosts":[{"name":"v","domains":["*"],"include_request_attempt_count":true,
		"retry_policy":{"retry_on":"5xx"},"routes":[
		{"match":{"prefix":"/inherits"},"route":{"cluster":"c"}},
		{"match":{"prefix":"/says"},"route":{"cluster":"c","timeout":"0s","idle_timeout":"5s","priority":"HIGH","auto_host_rewrite":true,
			"max_stream_duration":{"max_stream_duration":"9s","grpc_timeout_header_max":"0s","grpc_timeout_header_offset":"1s"},
			"retry_policy":{"retry_on":"connect-failure,refused-stream,unavailable, cancelled,retriable-status-codes,never-heard-of","num_retries":3,"per_try_timeout":"2s",
				"retriable_status_codes":[503],"retry_host_predicate":[{"name":"envoy.retry_host_predicates.previous_hosts"}],"host_selection_retry_max_attempts":"5",
				"retry_back_off":{"base_interval":"0.010s"}},
			"upgrade_configs":[{"upgrade_type":"WebSocket","enabled":false}],
			"request_mirror_policies":[{"cluster":"m","runtime_fraction":{"default_value":{"numerator":0}}},{"cluster_header":"x-m","disable_shadow_host_suffix_append":true}]}}]}]}`)
	x := request("GET h/inherits")
	f := table.Match(x).Forward
	if f.Timeout != 15*time.Second || f.HasIdleTimeout || f.NotFoundStatus != 503 || !f.Retry.On.Has(On5xx) || f.Retry.Retries != 1 || f.Retry.MaxBackOff != 250*time.Millisecond {
		t.Errorf("%+v, %+v", f, f.Retry)
	}
	if cluster, ok := f.Mirrors[0].ClusterOf(0, x); cluster != "of the table" || !ok || !f.Mirrors[0].ShadowHost {
		t.Errorf("%+v", f.Mirrors)
	}
	if _, said := f.Upgrade("websocket"); said || !table.VirtualHosts[0].AttemptCount {
		t.Error("inherited wrongly")
	}
	x = request("GET h/says x-m=mm")
	f = table.Match(x).Forward
	retry := *f.Retry
	retry.headers, retry.requestHeaders = nil, nil
	want := Retry{On: OnConnectFailure | OnRefusedStream | OnGRPCUnavailable | OnGRPCCancelled | OnRetriableStatusCodes, Retries: 3, PerTry: 2 * time.Second, Statuses: []int{503},
		BackOff: 10 * time.Millisecond, MaxBackOff: 100 * time.Millisecond, PreviousHosts: true, HostAttempts: 5}
	if d := cmp.Diff(want, retry, cmp.AllowUnexported(Retry{})); d != "" {
		t.Error(d)
	}
	if f.Timeout != 0 || f.IdleTimeout != 5*time.Second || !f.HasIdleTimeout || !f.HighPriority || !f.AutoHost || f.MaxStreamDuration != 9*time.Second || !f.GRPCTimeout ||
		f.GRPCTimeoutMax != 0 || f.GRPCTimeoutOffset != time.Second {
		t.Errorf("%+v", f)
	}
	if allowed, said := f.Upgrade("websocket"); allowed || !said {
		t.Error("the upgrade is not refused")
	}
	if _, ok := f.Mirrors[0].ClusterOf(0, x); ok {
		t.Error("none of the requests is mirrored to m")
	}
	if cluster, ok := f.Mirrors[1].ClusterOf(1, x); cluster != "mm" || !ok || f.Mirrors[1].ShadowHost {
		t.Errorf("%s, %+v", cluster, f.Mirrors[1])
	}
}

func TestRetry(t *testing.T) {
	for _, c := range []struct {
		policy string
		status int
		fields string
		want   bool
	}{
		{`"retry_on":"5xx"`, 500, "", true},
		{`"retry_on":"5xx"`, 499, "", false},
		{`"retry_on":"gateway-error"`, 503, "", true},
		{`"retry_on":"gateway-error"`, 500, "", false},
		{`"retry_on":"retriable-4xx"`, 409, "", true},
		{`"retry_on":"retriable-4xx"`, 404, "", false},
		{`"retry_on":"retriable-status-codes","retriable_status_codes":[404]`, 404, "", true},
		{`"retry_on":"5xx","retriable_status_codes":[404]`, 404, "", false},
		{`"retry_on":"5xx"`, 503, "x-envoy-ratelimited=true", false},
		{`"retry_on":"envoy-ratelimited"`, 429, "x-envoy-ratelimited=true", true},
		{`"retry_on":"unavailable"`, 200, "grpc-status=14", true},
		{`"retry_on":"unavailable"`, 200, "grpc-status=13", false},
		{`"retry_on":"unavailable"`, 200, "grpc-status=77", false},
		{`"retry_on":"retriable-headers","retriable_headers":[{"name":"x-again"}]`, 200, "x-again=", true},
		{`"retry_on":"retriable-headers","retriable_headers":[{"name":"x-again"}]`, 200, "", false},
	} {
		table := compile(t, oneHost(`{"match":{"prefix":"/"},"route":{"cluster":"c","retry_policy":{`+c.policy+`,"retriable_request_headers":[{"name":"x-may"}]}}}`))
		r := table.Match(request("GET h/")).Forward.Retry
		resp := &message.Response{Status: c.status}
		if name, value, ok := strings.Cut(c.fields, "="); ok {
			resp.Fields.Add(name, value)
		}
		if got := r.Again(resp); got != c.want {
			t.Errorf("%s: %d %s: %t", c.policy, c.status, c.fields, got)
		}
		if r.Allows(request("GET h/").Request) || !r.Allows(request("GET h/ x-may=1").Request) {
			t.Error("retriable_request_headers is not kept to")
		}
	}
}

// The most specific level that says something of a filter counts, and CORS is for what endpoints serve.
func TestFilterSettings(t *testing.T) {
	config := func(kind, body string) string {
		if kind == "cors" {
			return `"envoy.filters.http.cors":{"@type":"type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"` + body + `}`
		}
		return `"envoy.filters.http.fault":{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"` + body + `}`
	}
	table := compile(t, `{"virtual_hosts":[{"name":"v","domains":["*"],"typed_per_filter_config":{`+config("cors", ``)+`,`+config("fault", ``)+`},"routes":[
		{"match":{"path":"/inherits"},"route":{"cluster":"c"}},
		{"match":{"path":"/own"},"typed_per_filter_config":{`+config("fault", ``)+`},
			"route":{"weighted_clusters":{"clusters":[{"name":"c","weight":1,"typed_per_filter_config":{`+config("fault", ``)+`}}]}}},
		{"match":{"path":"/off"},"typed_per_filter_config":{"envoy.filters.http.fault":{"@type":"type.googleapis.com/envoy.config.route.v3.FilterConfig","disabled":true}},
			"route":{"cluster":"c"}},
		{"match":{"path":"/direct"},"direct_response":{"status":200}}]}]}`)
	get := func(path string) *Route { return table.Match(request("GET h" + path)) }
	inherits, own, off, direct := get("/inherits"), get("/own"), get("/off"), get("/direct")
	if inherits.Filters[filter.CORS].Policy == nil || inherits.Filters[filter.Fault].Policy == nil {
		t.Error("nothing inherited")
	}
	d := own.Forward.Destinations[0]
	if own.Filters[filter.Fault] == inherits.Filters[filter.Fault] || d.Filters[filter.Fault] == own.Filters[filter.Fault] || d.Filters[filter.CORS] != inherits.Filters[filter.CORS] {
		t.Error("the most specific does not count")
	}
	if off.Filters[filter.Fault] != (filter.Setting{Disabled: true}) || off.Filters[filter.CORS].Policy == nil {
		t.Errorf("%+v", off.Filters)
	}
	if direct.Filters[filter.CORS] != (filter.Setting{}) || direct.Filters[filter.Fault].Policy == nil {
		t.Errorf("%+v", direct.Filters)
	}
}
