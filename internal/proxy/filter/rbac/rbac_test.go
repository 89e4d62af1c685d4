package rbac

import (
	"strings"
	"testing"
	"time"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/stats"
)

type exchange struct{ info message.Info }

func (x *exchange) Info() *message.Info     { return &x.info }
func (x *exchange) Wait(time.Duration) bool { panic("it has nothing to wait for") }

func get(path string) *exchange {
	return &exchange{message.Info{Request: &message.Request{Method: "GET", Path: path}, Response: &message.Response{}}}
}

func compile(t *testing.T, text string, env *filter.Env) *Policy {
	t.Helper()
	m := &rbacv3.RBAC{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	p, err := New(m, env)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// of is rules of a policy "p q" for paths below /x.
func of(action string) string {
	return `{"action":"` + action + `","policies":{"p q":{"permissions":[{"url_path":{"path":{"prefix":"/x"}}}],"principals":[{"any":true}]}}}`
}

func TestRequest(t *testing.T) {
	for _, c := range []struct {
		policy, path, details string // details of a refusal
		metadata              string
	}{
		{`{}`, "/x", "", ""},
		{`{"rules":` + of("ALLOW") + `}`, "/x", "", ""},
		{`{"rules":` + of("ALLOW") + `}`, "/y", "rbac_access_denied_matched_policy[none]", ""},
		{`{"rules":` + of("DENY") + `}`, "/x", "rbac_access_denied_matched_policy[p_q]", ""},
		{`{"rules":` + of("DENY") + `}`, "/y", "", ""},
		{`{"rules":{}}`, "/y", "rbac_access_denied_matched_policy[none]", ""},
		{`{"rules":` + of("LOG") + `}`, "/x", "", "envoy.common/access_log_hint=true"},
		{`{"rules":` + of("LOG") + `}`, "/y", "", "envoy.common/access_log_hint=false"},
		{`{"shadow_rules":` + of("ALLOW") + `,"shadow_rules_stat_prefix":"dry_"}`, "/x", "",
			"envoy.filters.http.rbac/dry_shadow_effective_policy_id=p q envoy.filters.http.rbac/dry_shadow_engine_result=allowed"},
		{`{"shadow_rules":` + of("ALLOW") + `}`, "/y", "", "envoy.filters.http.rbac/shadow_engine_result=denied"},
		{`{"rules":` + of("DENY") + `,"shadow_rules":` + of("DENY") + `}`, "/x", "rbac_access_denied_matched_policy[p_q]",
			"envoy.filters.http.rbac/shadow_effective_policy_id=p q envoy.filters.http.rbac/shadow_engine_result=denied"},
	} {
		x := get(c.path)
		reply := filter.Reply{Response: x.info.Response}
		if answered := compile(t, c.policy, nil).Request(x, &reply); answered != (c.details != "") || reply.Details != c.details {
			t.Errorf("%s %s: %t %s", c.policy, c.path, answered, reply.Details)
		} else if answered && (reply.Response.Status != 403 || string(reply.Body) != "RBAC: access denied" || x.info.Flags != 0) {
			t.Errorf("%s %s: %d %s %s", c.policy, c.path, reply.Response.Status, reply.Body, x.info.Flags)
		}
		if said := describe(&x.info); said != c.metadata {
			t.Errorf("%s %s: it says %s", c.policy, c.path, said)
		}
	}
}

func describe(info *message.Info) string {
	var out []string
	for _, m := range info.Metadata {
		value, _ := m.Value.(string)
		if b, ok := m.Value.(bool); ok {
			value = map[bool]string{true: "true", false: "false"}[b]
		}
		out = append(out, m.Filter+"/"+m.Key+"="+value)
	}
	return strings.Join(out, " ")
}

func TestRoute(t *testing.T) {
	p, err := NewRoute(&rbacv3.RBACPerRoute{}, nil)
	if err != nil || p.Request(get("/x"), &filter.Reply{}) {
		t.Errorf("a route that turns the filter off refuses: %v", err)
	}
	m := &rbacv3.RBACPerRoute{}
	if err := protojson.Unmarshal([]byte(`{"rbac":{"matcher":{}}}`), m); err != nil {
		t.Fatal(err)
	}
	if _, err = NewRoute(m, nil); err == nil || err.Error() != "rbac.matcher: this proxy does not know it" {
		t.Error(err)
	}
}

func TestCounters(t *testing.T) {
	env := &filter.Env{Stats: stats.New(stats.Workload{})}
	p := compile(t, `{"rules":`+of("ALLOW")+`,"shadow_rules":`+of("DENY")+`}`, env)
	for _, path := range []string{"/x", "/x/1", "/y"} {
		x := get(path)
		p.Request(x, &filter.Reply{Response: x.info.Response})
	}
	var b strings.Builder
	if _, err := env.Stats.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`weft_proxy_rbac_decisions_total{layer="http",policy="p q",result="allowed"} 2`,
		`weft_proxy_rbac_decisions_total{layer="http",policy="none",result="denied"} 1`,
		`weft_proxy_rbac_decisions_total{layer="http",policy="p q",result="shadow_denied"} 2`,
		`weft_proxy_rbac_decisions_total{layer="http",policy="none",result="shadow_allowed"} 1`,
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}

func TestNetwork(t *testing.T) {
	m := &networkv3.RBAC{}
	text := `{"stat_prefix":"tcp.","rules":{"policies":{"p":{"permissions":[{"not_rule":{"url_path":{"path":{"prefix":"/"}}}}],"principals":[{"authenticated":{"principal_name":{"exact":"a"}}}]}}}}`
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	n, err := NewNetwork(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if info := (&message.Info{Secure: true, PeerNames: []string{"a"}}); !n.Allow(info) {
		t.Error(info.Details)
	}
	if info := (&message.Info{}); n.Allow(info) || info.Details != "rbac_access_denied_matched_policy[none]" {
		t.Errorf("in clear text: %q", info.Details)
	}
}

func TestDecidingMakesNoGarbage(t *testing.T) {
	p, x := compile(t, `{"rules":`+of("ALLOW")+`,"shadow_rules":`+of("DENY")+`}`, &filter.Env{Stats: stats.New(stats.Workload{})}), get("/x")
	reply := filter.Reply{Response: x.info.Response}
	p.Request(x, &reply)
	if n := testing.AllocsPerRun(100, func() { x.info.Metadata = x.info.Metadata[:0]; p.Request(x, &reply) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
