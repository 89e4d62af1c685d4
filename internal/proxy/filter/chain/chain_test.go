package chain

import (
	"strings"
	"testing"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
)

const (
	router    = `{"name":"router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}`
	withCORS  = `{"name":"envoy.filters.http.cors","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}}`
	withFault = `{"name":"envoy.filters.http.fault","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"OPTIONS}MORE}`
	stats     = `{"name":"grpc_stats","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"}}`
	empty     = `{"name":"odd","typed_config":{"@type":"type.googleapis.com/google.protobuf.Empty"}MORE}`
	aborts    = `,"abort":{"http_status":418,"percentage":{"numerator":100}}`
)

func with(text, options, more string) string {
	return strings.NewReplacer("OPTIONS", options, "MORE", more).Replace(text)
}

func newChain(t *testing.T, filters ...string) (*Chain, error) {
	t.Helper()
	m := &hcmv3.HttpConnectionManager{}
	if err := protojson.Unmarshal([]byte(with(`{"http_filters":[`+strings.Join(filters, ",")+`]}`, "", "")), m); err != nil {
		t.Fatal(err)
	}
	return New(m.GetHttpFilters(), nil)
}

func TestNew(t *testing.T) {
	for _, c := range []struct {
		filters []string
		want    string
	}{
		{[]string{withCORS, withFault, stats, router}, ""},
		{[]string{router}, ""},
		{[]string{with(empty, "", `,"is_optional":true`), router}, ""},
		{nil, "http_filters: the last is not the router"},
		{[]string{withCORS}, "http_filters: the last is not the router"},
		{[]string{router, withCORS}, "http_filters[0]: the router is not the last filter"},
		{[]string{empty, router}, `http_filters[0]: filter "odd" (google.protobuf.Empty) is not known to this proxy`},
		{[]string{`{"name":"odd"}`, router}, `http_filters[0]: filter "odd" () is not known to this proxy`},
		{[]string{withCORS, withCORS, router}, "http_filters[1]: envoy.filters.http.cors is there twice"},
		{[]string{with(withFault, `,"abort":{"http_status":1}`, ""), router}, "http_filters[0].typed_config.abort.http_status: "},
		{[]string{`{"name":"x","config_discovery":{}}`, router}, "http_filters[0].config_discovery: this proxy does not know it"},
		{[]string{strings.Replace(router, `Router"`, `Router","suppress_envoy_headers":true`, 1)}, "http_filters[0].typed_config.suppress_envoy_headers: "},
	} {
		_, err := newChain(t, c.filters...)
		if (c.want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.filters, err, c.want)
		}
	}
}

func settings(t *testing.T, name, text string) (filter.Settings, error) {
	t.Helper()
	a := &anypb.Any{}
	if err := protojson.Unmarshal([]byte(text), a); err != nil {
		t.Fatal(err)
	}
	return NewSettings(map[string]*anypb.Any{name: a}, nil)
}

func TestSettings(t *testing.T) {
	const (
		own  = `{"@type":"type.googleapis.com/envoy.config.route.v3.FilterConfig",`
		http = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"`
		none = `{"@type":"type.googleapis.com/google.protobuf.Empty"}`
	)
	for _, c := range []struct {
		name, text       string
		policy, disabled bool
		err              string
	}{
		{"envoy.filters.http.fault", http + `}`, true, false, ""},
		{"envoy.filters.http.fault", own + `"config":` + http + `}}`, true, false, ""},
		{"envoy.filters.http.fault", own + `"disabled":true}`, false, true, ""},
		{"lua", own + `"disabled":true}`, false, false, ""},
		{"lua", own + `"is_optional":true,"config":` + none + `}`, false, false, ""},
		{"lua", own + `"config":` + none + `}`, false, false, `typed_per_filter_config["lua"]: filter "lua" (google.protobuf.Empty)`},
		{"lua", none, false, false, `typed_per_filter_config["lua"]: filter "lua" (google.protobuf.Empty)`},
		{"envoy.filters.http.fault", http + `,"abort":{"http_status":1}}`, false, false, `typed_per_filter_config["envoy.filters.http.fault"].abort.http_status: `},
	} {
		s, err := settings(t, c.name, c.text)
		if (c.err == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := s[filter.Fault]; err == nil && ((got.Policy != nil) != c.policy || got.Disabled != c.disabled) {
			t.Errorf("%s: %+v", c.text, got)
		}
	}
	broken := map[string]*anypb.Any{"envoy.filters.http.cors": {TypeUrl: "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy", Value: []byte{0xff}}}
	if _, err := NewSettings(broken, nil); err == nil {
		t.Error("bytes that are no message are accepted")
	}
	twice := `{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"}`
	a := &anypb.Any{}
	if err := protojson.Unmarshal([]byte(twice), a); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSettings(map[string]*anypb.Any{"a": a, "b": a}, nil); err == nil {
		t.Error("two configurations of one filter are accepted")
	}
}

type exchange struct{ info message.Info }

func (x *exchange) Info() *message.Info     { return &x.info }
func (x *exchange) Wait(time.Duration) bool { return true }

func newExchange() *exchange {
	x := &exchange{message.Info{Request: &message.Request{Method: "GET"}, Response: &message.Response{}}}
	x.info.Request.Fields.Add("origin", "o")
	return x
}

// A route's policy comes before the listener's, and can switch it off.
func TestRun(t *testing.T) {
	own, err := settings(t, "f", `{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault","abort":{"http_status":404,"percentage":{"numerator":100}}}`)
	if err != nil {
		t.Fatal(err)
	}
	off := filter.Settings{filter.Fault: {Disabled: true}}
	open, err := settings(t, "c", `{"@type":"type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy","allow_origin_string_match":[{"exact":"o"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		fault    string
		settings *filter.Settings
		status   int
	}{
		{"listener's", with(withFault, aborts, ""), &filter.Settings{}, 418},
		{"no route", with(withFault, aborts, ""), nil, 418},
		{"route's", with(withFault, aborts, ""), &own, 404},
		{"route's alone", withFault, &own, 404},
		{"off", with(withFault, aborts, ""), &off, 0},
		{"disabled", with(withFault, aborts, `,"disabled":true`), &filter.Settings{}, 0},
		{"disabled, but the route says something", with(withFault, aborts, `,"disabled":true`), &own, 404},
		{"the fault is not in the chain", stats, &own, 0},
		{"another filter's", withFault, &open, 0},
	} {
		ch, err := newChain(t, withCORS, c.fault, router)
		if err != nil {
			t.Fatal(err)
		}
		x := newExchange()
		reply := filter.Reply{Response: x.info.Response}
		if answered := ch.Request(x, c.settings, &reply); answered != (c.status != 0) || x.info.Response.Status != c.status {
			t.Errorf("%s: %t, %d, want %d", c.name, answered, x.info.Response.Status, c.status)
		}
		ch.Response(x, c.settings, x.info.Response)
		if _, opened := x.info.Response.Fields.Get("access-control-allow-origin"); opened != (c.settings == &open) {
			t.Errorf("%s: opened to other origins: %t", c.name, opened)
		}
	}
}

func TestNothingToDoCostsNothing(t *testing.T) {
	ch, err := newChain(t, withCORS, withFault, router)
	if err != nil {
		t.Fatal(err)
	}
	x, s := newExchange(), &filter.Settings{}
	reply := filter.Reply{Response: x.info.Response}
	if n := testing.AllocsPerRun(100, func() { ch.Request(x, s, &reply); ch.Response(x, s, x.info.Response) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
