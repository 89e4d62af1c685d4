package explain

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// Approach is a request or a connection as it comes to the proxy of a workload, which judges it.
type Approach struct {
	Principal string         // the client's, "cluster.local/ns/shop/sa/web"; "" if it shows no certificate of the mesh
	From      netip.Addr     // where the connection comes from
	Remote    netip.Addr     // the client's address as x-forwarded-for has it; the zero one: From
	To        netip.AddrPort // where the connection goes: the workload's address and port
	SNI       string

	// Request is what is asked for; nil if the connection is carried as bytes.
	Request *ApproachingRequest
}

// ApproachingRequest is an HTTP request that is judged.
type ApproachingRequest struct {
	Method, Host, Path string              // Path without the query
	Headers            map[string][]string // names in lower case
	Claims             map[string]any      // of its token, if one is believed, as JSON has them; nil: none
}

// Judgement is what a workload's proxy makes of an Approach.
type Judgement struct {
	Allowed bool
	Rule    model.Origin // the rule that decided; zero if none did
	Reason  string       // one line
}

// Admit says what a PeerAuthentication makes of a connection, and adds the step to the trail. peers may be nil.
func Admit(t *Trail, peers *model.PeerAuthentication, port uint16, mutual bool) Judgement {
	mode, o := peers.For(port)
	with := "in plaintext"
	if mutual {
		with = "with the mesh's TLS"
	}
	if mode == model.MTLSStrict && !mutual {
		t.reject("mtls", o, "%v: the connection comes %s", mode, with)
		return Judgement{Rule: o, Reason: "only the mesh's TLS is taken"}
	}
	t.step("mtls", o, "%v: the connection comes %s", mode, with)
	return Judgement{Allowed: true, Rule: o, Reason: mode.String()}
}

// Authorize judges an approach by the AuthorizationPolicies of a workload as its proxy does: each with the first condition that does not hold,
// in the order in which they are looked at. Once something is refused, what comes behind is not looked at.
func Authorize(t *Trail, policies []*model.AuthorizationPolicy, a Approach) Judgement {
	for _, action := range []model.AuthorizationAction{model.AuthorizationCustom, model.AuthorizationAudit, model.AuthorizationDeny} {
		for _, p := range policies {
			if p.Action != action {
				continue
			}
			rule, matched := judge(t, p, a)
			if matched && !p.DryRun && action != model.AuthorizationAudit {
				return Judgement{Rule: rule, Reason: "denied by " + rule.String()}
			}
		}
	}
	asked := false
	var allowed *model.Origin
	for _, p := range policies {
		if p.Action != model.AuthorizationAllow {
			continue
		}
		asked = asked || !p.DryRun
		if rule, matched := judge(t, p, a); matched && !p.DryRun && allowed == nil {
			allowed = &rule
		}
	}
	switch {
	case allowed != nil:
		return Judgement{Allowed: true, Rule: *allowed, Reason: "allowed by " + allowed.String()}
	case asked:
		return Judgement{Reason: "denied: there are policies that allow, and none of their rules matches"}
	}
	return Judgement{Allowed: true, Reason: "allowed: no policy says otherwise"}
}

// judge tells whether one policy matches, by which rule, and adds what it finds to the trail.
func judge(t *Trail, p *model.AuthorizationPolicy, a Approach) (rule model.Origin, matched bool) {
	does := p.Action.String()
	if p.DryRun {
		does += " (dry run)"
	}
	if len(p.Rules) == 0 {
		t.reject("authorize", p.Origin, "%s: has no rule that can match", does)
		return rule, false
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if o, why := fails(r, p.Action, &a); why != "" {
			t.reject("authorize", o, "%s: %s", does, why)
			continue
		}
		t.step("authorize", r.Origin, "%s: matches", does)
		return r.Origin, true
	}
	return rule, false
}

// fails says why a rule does not match, and where that stands; "" if it matches.
func fails(r *model.AuthorizationRule, action model.AuthorizationAction, a *Approach) (at model.Origin, why string) {
	if a.Request == nil && action == model.AuthorizationAllow && r.HTTP() {
		return r.Origin, "asks for what only HTTP has, and this is no HTTP"
	}
	for _, clauses := range [][]model.Clause{r.From, r.To} {
		if at, why := a.lacksAll(clauses); why != "" {
			return at, why
		}
	}
	for i := range r.When {
		if why := a.lacks(&r.When[i]); why != "" {
			return r.When[i].Origin, why
		}
	}
	return model.Origin{}, ""
}

// lacksAll says why none of some clauses holds: why the first does not.
func (a *Approach) lacksAll(clauses []model.Clause) (at model.Origin, why string) {
	for i := range clauses {
		failed := false
		for j := range clauses[i].All {
			c := &clauses[i].All[j]
			if w := a.lacks(c); w != "" {
				failed = true
				if why == "" {
					at, why = c.Origin, w
				}
				break
			}
		}
		if !failed {
			return model.Origin{}, ""
		}
	}
	if len(clauses) > 1 {
		why += fmt.Sprintf(" (and %d more of which none holds)", len(clauses)-1)
	}
	return at, why
}

// lacks says why a condition does not hold; "" if it does. What only HTTP has holds for anything else: nobody asks it of who could let such in.
func (a *Approach) lacks(c *model.Condition) string {
	if a.Request == nil && c.Attribute.HTTP() {
		return ""
	}
	has := a.show(c)
	if len(c.Values) > 0 && !a.fitsAny(c, c.Values) {
		return fmt.Sprintf("%v %s is not %s", c, has, oneOf(c.Values))
	}
	if len(c.NotValues) > 0 && a.fitsAny(c, c.NotValues) {
		return fmt.Sprintf("%v %s is among those that it must not be, %s", c, has, oneOf(c.NotValues))
	}
	return ""
}

func oneOf(values []model.Pattern) string {
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return strings.Join(out, " or ")
}
