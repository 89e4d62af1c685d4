package explain

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

func policyAt(name, field string) model.Origin {
	return model.Origin{Object: finding.Object{Kind: "AuthorizationPolicy", Namespace: "shop", Name: name}, Field: field}
}

func asked(a model.Attribute, field string, values ...string) model.Condition {
	c := model.Condition{Attribute: a, Origin: policyAt("p", field)}
	for _, v := range values {
		c.Values = append(c.Values, model.MakePattern(v))
	}
	return c
}

// Each policy is shown with the first condition that does not hold, and where that stands. test/policies has what rules mean.
func TestAuthorizeNamesWhatFails(t *testing.T) {
	rule := model.AuthorizationRule{
		Origin: policyAt("p", "rule"),
		From:   []model.Clause{{All: []model.Condition{asked(model.AttributePrincipal, "principals", "cluster.local/ns/shop/sa/api")}}, {All: []model.Condition{asked(model.AttributeNamespace, "namespaces", "mon")}}},
		To:     []model.Clause{{All: []model.Condition{asked(model.AttributeMethod, "methods", "GET"), asked(model.AttributePath, "paths", "/a*")}}},
	}
	allow := &model.AuthorizationPolicy{Rules: []model.AuthorizationRule{rule}, Origin: policyAt("p", "")}
	denied := asked(model.AttributeHeader, "headers", "x")
	denied.Path = []string{"x-evil"}
	denied.Values = []model.Pattern{{Kind: model.PatternPresent}}
	deny := &model.AuthorizationPolicy{Action: model.AuthorizationDeny, Origin: policyAt("d", ""), Rules: []model.AuthorizationRule{{Origin: policyAt("d", "rule"), When: []model.Condition{denied}}}}
	tried := &model.AuthorizationPolicy{Action: model.AuthorizationDeny, DryRun: true, Origin: policyAt("t", ""), Rules: []model.AuthorizationRule{{Origin: policyAt("t", "rule")}}}
	get := func(path string) *ApproachingRequest {
		return &ApproachingRequest{Method: "GET", Path: path, Headers: map[string][]string{}}
	}
	evil := get("/a")
	evil.Headers["x-evil"] = []string{""}
	api := Approach{Principal: "cluster.local/ns/shop/sa/api", From: netip.MustParseAddr("10.0.0.1")}
	for _, c := range []struct {
		name     string
		policies []*model.AuthorizationPolicy
		who      string
		request  *ApproachingRequest
		want     Judgement
		steps    []string
	}{
		{"nobody says anything", nil, "", get("/"), Judgement{Allowed: true, Reason: "allowed: no policy says otherwise"}, nil},
		{"allowed", []*model.AuthorizationPolicy{allow}, api.Principal, get("/a"), Judgement{true, rule.Origin, "allowed by " + rule.Origin.String()}, []string{"ALLOW: matches"}},
		{"somebody else", []*model.AuthorizationPolicy{allow}, "cluster.local/ns/shop/sa/web", get("/a"), Judgement{Reason: "denied: there are policies that allow, and none of their rules matches"},
			[]string{"-ALLOW: source.principal of cluster.local/ns/shop/sa/web is not cluster.local/ns/shop/sa/api (and 1 more of which none holds)"}},
		{"nobody in particular", []*model.AuthorizationPolicy{allow}, "", get("/a"), Judgement{Reason: "denied: there are policies that allow, and none of their rules matches"},
			[]string{"-ALLOW: source.principal of a client without a certificate of the mesh is not cluster.local/ns/shop/sa/api (and 1 more of which none holds)"}},
		{"something else", []*model.AuthorizationPolicy{allow}, "cluster.local/ns/mon/sa/x", get("/b"), Judgement{Reason: "denied: there are policies that allow, and none of their rules matches"},
			[]string{"-ALLOW: path /b is not /a*"}},
		{"no HTTP", []*model.AuthorizationPolicy{allow}, api.Principal, nil, Judgement{Reason: "denied: there are policies that allow, and none of their rules matches"},
			[]string{"-ALLOW: asks for what only HTTP has, and this is no HTTP"}},
		{"denied first", []*model.AuthorizationPolicy{allow, tried, deny}, api.Principal, evil, Judgement{Rule: policyAt("d", "rule"), Reason: "denied by AuthorizationPolicy shop/d rule"},
			[]string{"DENY (dry run): matches", "DENY: matches"}},
		{"not denied", []*model.AuthorizationPolicy{deny}, "", get("/"), Judgement{Allowed: true, Reason: "allowed: no policy says otherwise"}, []string{`-DENY: request.headers[x-evil] "" is not *`}},
		{"no HTTP is denied", []*model.AuthorizationPolicy{deny}, "", nil, Judgement{Rule: policyAt("d", "rule"), Reason: "denied by AuthorizationPolicy shop/d rule"}, []string{"DENY: matches"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := api
			a.Principal, a.Request = c.who, c.request
			var trail Trail
			if d := cmp.Diff(c.want, Authorize(&trail, c.policies, a)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			var steps []string
			for _, s := range trail.Steps {
				if s.Reject {
					s.Text = "-" + s.Text
				}
				steps = append(steps, s.Text)
			}
			if d := cmp.Diff(c.steps, steps); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	strict := &model.PeerAuthentication{Mode: model.MTLSStrict, Ports: []model.PortMTLS{{Port: 9000, Mode: model.MTLSDisable}}}
	for _, c := range []struct {
		peers  *model.PeerAuthentication
		port   uint16
		mutual bool
		want   bool
	}{{nil, 80, false, true}, {strict, 80, true, true}, {strict, 80, false, false}, {strict, 9000, false, true}} {
		var trail Trail
		if got := Admit(&trail, c.peers, c.port, c.mutual); got.Allowed != c.want || len(trail.Steps) != 1 || trail.Steps[0].Reject == c.want {
			t.Errorf("%+v: %+v %+v", c, got, trail.Steps)
		}
	}
}
