package cors

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
)

type exchange struct{ info message.Info }

func (x *exchange) Info() *message.Info     { return &x.info }
func (x *exchange) Wait(time.Duration) bool { return true }

func compile(t *testing.T, text string) *Policy {
	t.Helper()
	m := &corsv3.CorsPolicy{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	p, err := New(m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// request makes an exchange of "METHOD name=value ...".
func request(text string) *exchange {
	words := strings.Fields(text)
	x := &exchange{message.Info{Request: &message.Request{Method: words[0]}, Response: &message.Response{}}}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		x.info.Request.Fields.Add(name, value)
	}
	return x
}

func written(r *message.Response) string {
	var s []string
	if r.Status != 0 {
		s = append(s, fmt.Sprint(r.Status))
	}
	for _, f := range r.Fields.All() {
		s = append(s, strings.TrimPrefix(f.Name, "access-control-")+"="+f.Value)
	}
	return strings.Join(s, " ")
}

const policy = `{"allow_origin_string_match":[{"exact":"https://a.example"},{"safe_regex":{"regex":"https://[a-z]+\\.b\\.example"}}],
	"allow_methods":"GET,PUT","allow_headers":"x-a","expose_headers":"x-e","max_age":"600","allow_credentials":true}`

func TestPolicy(t *testing.T) {
	const preflight = "OPTIONS access-control-request-method=PUT access-control-request-headers=x-q origin="
	for _, c := range []struct{ policy, request, answer, response string }{
		{policy, "GET", "", ""},
		{policy, "GET origin=https://a.example", "", "allow-origin=https://a.example allow-credentials=true expose-headers=x-e"},
		{policy, "GET origin=https://x.b.example", "", "allow-origin=https://x.b.example allow-credentials=true expose-headers=x-e"},
		{policy, "GET origin=https://x.b.example.evil", "", ""},
		{policy, "GET origin=http://a.example", "", ""},
		{policy, "OPTIONS origin=https://a.example", "", "allow-origin=https://a.example allow-credentials=true expose-headers=x-e"},
		{policy, preflight + "https://a.example", "200 allow-origin=https://a.example allow-credentials=true allow-methods=GET,PUT allow-headers=x-a max-age=600", ""},
		{policy, preflight + "https://evil.example", "", ""},
		{policy[:len(policy)-1] + `,"forward_not_matching_preflights":false}`, preflight + "https://evil.example",
			"200 allow-credentials=true allow-methods=GET,PUT allow-headers=x-a max-age=600", ""},
		{policy[:len(policy)-1] + `,"filter_enabled":{"default_value":{"numerator":0}}}`, preflight + "https://a.example", "", ""},
		{`{"allow_origin_string_match":[{"exact":"*"}],"allow_methods":"*","allow_headers":"*"}`, preflight + "https://any.example",
			"200 allow-origin=https://any.example allow-methods=PUT allow-headers=x-q", ""},
		{`{"allow_origin_string_match":[{"prefix":"*"}]}`, "GET origin=null", "", "allow-origin=null"},
		{`{"allow_private_network_access":true,"allow_origin_string_match":[{"exact":"*"}]}`, preflight + "https://a access-control-request-private-network=true",
			"200 allow-origin=https://a allow-private-network=true", ""},
		{`{}`, "GET origin=https://a.example", "", ""},
	} {
		p, x := compile(t, c.policy), request(c.request)
		reply := filter.Reply{Response: x.info.Response}
		answered := p.Request(x, &reply)
		if got := written(x.info.Response); got != c.answer || answered != (c.answer != "") {
			t.Errorf("%s\n%s: answer %q (%t), want %q", c.policy, c.request, got, answered, c.answer)
		}
		if answered {
			continue
		}
		x.info.Response.Fields.Add("access-control-allow-origin", "what the endpoint says")
		p.Response(x, x.info.Response)
		want := c.response
		if want == "" {
			want = "allow-origin=what the endpoint says"
		}
		if got := written(x.info.Response); got != want {
			t.Errorf("%s\n%s: response %q, want %q", c.policy, c.request, got, want)
		}
	}
}

func TestInherit(t *testing.T) {
	outer := compile(t, policy)
	inner := compile(t, `{"allow_methods":"POST","allow_credentials":false}`).Inherit(outer)
	x := request("OPTIONS access-control-request-method=PUT origin=https://a.example")
	inner.Request(x, &filter.Reply{Response: x.info.Response})
	if got, want := written(x.info.Response), "200 allow-origin=https://a.example allow-methods=POST allow-headers=x-a max-age=600"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"allow_methods":"a\nb"}`: "allow_methods: ",
		`{"allow_origin_string_match":[{"exact":"a"},{"safe_regex":{"regex":"("}}]}`: "allow_origin_string_match[1].safe_regex.regex: ",
	} {
		m := &corsv3.CorsPolicy{}
		if err := protojson.Unmarshal([]byte(text), m); err != nil {
			t.Fatal(err)
		}
		if _, err := New(m); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	p := compile(t, policy)
	x := request("GET origin=https://x.b.example")
	reply := filter.Reply{Response: x.info.Response}
	if n := testing.AllocsPerRun(100, func() {
		x.info.Response.Reset()
		p.Request(x, &reply)
		p.Response(x, x.info.Response)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
