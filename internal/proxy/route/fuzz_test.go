package route

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Whatever a server sends, compiling it ends with a table or an error, and a table can be asked.
func FuzzCompile(f *testing.F) {
	for _, text := range []string{
		`{}`,
		oneHost(`{"match":{"prefix":"/a"},"route":{"cluster":"c","prefix_rewrite":"/b"}},{"match":{"prefix":"/"},"redirect":{"https_redirect":true}}`),
		oneHost(`{"match":{"safe_regex":{"regex":"/(a|b)+.*"}},"route":{"weighted_clusters":{"clusters":[{"name":"a","weight":1},{"name":"b","weight":9}]},
			"hash_policy":[{"cookie":{"name":"k","ttl":"1s"}}],"regex_rewrite":{"pattern":{"regex":"a(.)"},"substitution":"\\1"}}}`),
		oneHost(`{"match":{"path_separated_prefix":"/a","headers":[{"name":"x","string_match":{"contains":"y","ignore_case":true}}],"grpc":{}},
			"direct_response":{"status":200,"body":{"inline_string":"x"}},"response_headers_to_add":[{"header":{"key":"a","value":"%REQ(x?:path):3%"}}]}`),
		`{"virtual_hosts":[{"name":"a","domains":["*.x","x.*"],"require_tls":"ALL"}],"most_specific_header_mutations_wins":true}`,
	} {
		b, err := proto.Marshal(parse(f, text))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "www.x", "/a/b?c=d#e")
	}
	f.Fuzz(func(t *testing.T, b []byte, host, path string) {
		rc := &routev3.RouteConfiguration{}
		if proto.Unmarshal(b, rc) != nil {
			return
		}
		table, err := Compile(rc, Options{})
		if err != nil {
			return
		}
		x := &message.Info{Request: &message.Request{Method: "GET", Scheme: "http", Authority: host, Path: path}, Response: &message.Response{}}
		r := table.Match(x)
		if _, tried := table.Explain(x); r != nil && tried[len(tried)-1].Route != r {
			t.Fatalf("%q, %q: %v, explained as %v", host, path, r, tried)
		}
		if r == nil || r.Answer(x, &filter.Reply{Response: x.Response}) {
			return
		}
		d := r.Forward.Pick(x)
		r.Forward.Hash(x)
		r.Forward.PrepareRequest(d, x)
		d.FinishResponse(x)
	})
}
