package fault

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// exchange writes down what it is asked to wait.
type exchange struct {
	info   message.Info
	waited time.Duration
	gone   bool
	during func()
}

func (x *exchange) Info() *message.Info { return &x.info }
func (x *exchange) Wait(d time.Duration) bool {
	x.waited += d
	if x.during != nil {
		x.during()
	}
	return !x.gone
}

func request(fields ...string) *exchange {
	x := &exchange{info: message.Info{Request: &message.Request{}, Response: &message.Response{}}}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		x.info.Request.Fields.Add(name, value)
	}
	return x
}

func parse(t *testing.T, text string) (*Policy, error) {
	t.Helper()
	m := &faultv3.HTTPFault{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	return New(m)
}

func compile(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := parse(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	delay = `"delay":{"fixed_delay":"5s","percentage":{"numerator":100}}`
	abort = `"abort":{"http_status":418,"percentage":{"numerator":100}}`
)

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		policy, fields string
		waited         time.Duration
		status, grpc   int
		flags          string
	}{
		{`{}`, "", 0, 0, 0, "-"},
		{`{` + delay + `}`, "", 5 * time.Second, 0, 0, "DI"},
		{`{` + abort + `}`, "", 0, 418, 0, "FI"},
		{`{` + delay + `,` + abort + `}`, "", 5 * time.Second, 418, 0, "DI,FI"},
		{`{"delay":{"fixed_delay":"5s"},"abort":{"http_status":418}}`, "", 0, 0, 0, "-"},
		{`{"abort":{"grpc_status":14,"percentage":{"numerator":100}}}`, "", 0, 503, 14, "FI"},
		{`{"abort":{"header_abort":{},"percentage":{"numerator":100}},"delay":{"header_delay":{},"percentage":{"numerator":100}}}`,
			"x-envoy-fault-abort-request=503 x-envoy-fault-delay-request=1000", 0, 0, 0, "-"},
		{`{"headers":[{"name":"end-user","string_match":{"exact":"jason"}}],` + abort + `}`, "end-user=jason", 0, 418, 0, "FI"},
		{`{"headers":[{"name":"end-user","string_match":{"exact":"jason"}}],` + abort + `}`, "end-user=kim", 0, 0, 0, "-"},
		{`{"upstream_cluster":"c",` + abort + `}`, "", 0, 418, 0, "FI"},
		{`{"upstream_cluster":"d",` + abort + `}`, "", 0, 0, 0, "-"},
		{`{"downstream_nodes":["n"],` + abort + `}`, "x-envoy-downstream-service-node=n", 0, 418, 0, "FI"},
		{`{"downstream_nodes":["n"],` + abort + `}`, "", 0, 0, 0, "-"},
		{`{"max_active_faults":0,` + delay + `,` + abort + `}`, "", 0, 0, 0, "-"},
	} {
		p, x := compile(t, c.policy), request(strings.Fields(c.fields)...)
		x.info.UpstreamCluster = "c"
		reply := filter.Reply{Response: x.info.Response}
		answered := p.Request(x, &reply)
		if answered != (c.status != 0) || x.info.Response.Status != c.status || x.waited != c.waited || reply.GRPCStatus != c.grpc || x.info.Flags.String() != c.flags {
			t.Errorf("%s %s: %d, %+v, waited %v, %s", c.policy, c.fields, x.info.Response.Status, reply, x.waited, x.info.Flags)
		}
		if answered && string(reply.Body) != "fault filter abort" {
			t.Errorf("body %q", reply.Body)
		}
	}
}

// A client that goes while it is held up gets nothing more.
func TestGone(t *testing.T) {
	p, x := compile(t, `{`+delay+`,`+abort+`}`), request()
	x.gone = true
	if p.Request(x, &filter.Reply{Response: x.info.Response}) || x.info.Response.Status != 0 {
		t.Error("answered all the same")
	}
}

func TestMaxActive(t *testing.T) {
	p, x, y := compile(t, `{"max_active_faults":1,`+delay+`}`), request(), request()
	x.during = func() { p.Request(y, &filter.Reply{Response: y.info.Response}) }
	p.Request(x, &filter.Reply{Response: x.info.Response})
	if x.waited == 0 || y.waited != 0 {
		t.Errorf("waited %v and %v", x.waited, y.waited)
	}
	p.Request(y, &filter.Reply{Response: y.info.Response})
	if y.waited == 0 {
		t.Error("the first is over")
	}
}

// Delays and aborts are independent of each other.
func TestPercentages(t *testing.T) {
	p := compile(t, `{"delay":{"fixed_delay":"1s","percentage":{"numerator":50}},"abort":{"http_status":500,"percentage":{"numerator":2000,"denominator":"TEN_THOUSAND"}}}`)
	rng := rand.New(rand.NewPCG(1, 2))
	const n = 50_000
	var delayed, aborted, both float64
	for range n {
		x := request()
		x.info.Random = rng.Uint64()
		answered := p.Request(x, &filter.Reply{Response: x.info.Response})
		if x.waited > 0 {
			delayed++
		}
		if answered {
			aborted++
			if x.waited > 0 {
				both++
			}
		}
	}
	for _, c := range []struct{ got, p float64 }{{delayed, .5}, {aborted, .2}, {both, .1}} {
		if math.Abs(c.got-n*c.p) > 5*math.Sqrt(n*c.p*(1-c.p)) {
			t.Errorf("%v of %d, want a share of %v", c.got, n, c.p)
		}
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"abort":{"http_status":199}}`:                            "abort.http_status: 199 is no final status",
		`{"delay":{"fixed_delay":"0s"}}`:                           "delay.fixed_delay: 0s is not above 0",
		`{"headers":[{"name":""}]}`:                                "headers[0].name: empty",
		`{"response_rate_limit":{"fixed_limit":{"limit_kbps":1}}}`: "response_rate_limit: this proxy does not know it",
	} {
		if _, err := parse(t, text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
