package resource

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// Policies gives the policy of a destination, for what Envoy wants to know of it in routes: what requests are hashed on. It may give nil.
type Policies func(model.Destination) *model.TrafficPolicy

// route says a rule: one Envoy route for each of its matches, in their order. A rule that cannot be said answers 500 where it can be said that it
// matches.
func route(r *model.Route, policies Policies, problem func(error)) (out []*routev3.Route) {
	matches := r.Matches
	if len(matches) == 0 {
		matches = []model.Match{{Origin: r.Origin}}
	}
	action, err := action(r, policies)
	if err == nil {
		if err = valid(action); err != nil {
			err = errors.New("cannot be said to a proxy: " + err.Error())
		}
	}
	if err != nil {
		if !errors.Is(err, errBroken) { // whoever found that it is broken has said so
			problem(err)
		}
		action = broken(r)
	}
	for i := range matches {
		m, err := routeMatch(&matches[i])
		if err == nil {
			err = valid(m)
		}
		if err != nil {
			if !errors.Is(err, errNever) {
				problem(fmt.Errorf("match %d is left out: %w", i, err))
			}
			continue
		}
		one := shallow(action)
		one.Match = m
		one.Name = utf8(cmp.Or(matches[i].Name, r.Name))
		if matches[i].Name != "" && r.Name != "" {
			one.Name = utf8(r.Name + "." + matches[i].Name)
		}
		out = append(out, one)
	}
	return out
}

// shallow copies what action filled in.
func shallow(r *routev3.Route) *routev3.Route {
	return &routev3.Route{
		Action: r.Action, Metadata: r.Metadata, TypedPerFilterConfig: r.TypedPerFilterConfig,
		RequestHeadersToAdd: r.RequestHeadersToAdd, RequestHeadersToRemove: r.RequestHeadersToRemove,
		ResponseHeadersToAdd: r.ResponseHeadersToAdd, ResponseHeadersToRemove: r.ResponseHeadersToRemove,
	}
}

// broken answers 500, as a rule does that says nothing sensible.
func broken(r *model.Route) *routev3.Route {
	return &routev3.Route{Match: &anything, Metadata: metadata(r.Origin), Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 500}}}
}

// anything makes a route valid before it has its own match.
var anything = routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}

var errBroken = errors.New("the rule says nothing")

func action(r *model.Route, policies Policies) (*routev3.Route, error) {
	out := &routev3.Route{Match: &anything, Metadata: metadata(r.Origin)}
	request, response := headers(r.Request), headers(r.Response)
	out.RequestHeadersToAdd, out.RequestHeadersToRemove = request.set, request.remove
	out.ResponseHeadersToAdd, out.ResponseHeadersToRemove = response.set, response.remove
	var err error
	if out.TypedPerFilterConfig, err = filterConfigs(r); err != nil {
		return nil, err
	}
	switch {
	case r.Redirect != nil:
		out.Action = &routev3.Route_Redirect{Redirect: redirect(r.Redirect)}
	case r.Respond != nil:
		d := &routev3.DirectResponseAction{Status: uint32(r.Respond.Status)}
		if r.Respond.Body != "" {
			d.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(r.Respond.Body)}}
		}
		out.Action = &routev3.Route_DirectResponse{DirectResponse: d}
	case len(r.To) > 0:
		f, err := forward(r, policies, request.authority)
		if err != nil {
			return nil, err
		}
		out.Action = &routev3.Route_Route{Route: f}
	default:
		return nil, errBroken
	}
	return out, nil
}

func forward(r *model.Route, policies Policies, authority string) (*routev3.RouteAction, error) {
	f := &routev3.RouteAction{Timeout: durationpb.New(max(0, r.Timeout)), RetryPolicy: retry(r.Retry)}
	if r.Idle > 0 {
		f.IdleTimeout = durationpb.New(r.Idle)
	}
	if len(r.To) == 1 && r.To[0].Request.None() && r.To[0].Response.None() {
		f.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: ClusterName(r.To[0].Destination)}
	} else {
		w, err := weighted(r.To)
		if err != nil {
			return nil, err
		}
		f.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
	}
	if err := rewrite(r, f, authority); err != nil {
		return nil, err
	}
	for _, m := range r.Mirrors {
		if m.Share > 0 {
			f.RequestMirrorPolicies = append(f.RequestMirrorPolicies, &routev3.RouteAction_RequestMirrorPolicy{
				Cluster: ClusterName(m.Destination), RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: share(m.Share)},
			})
		}
	}
	for _, d := range r.To {
		if p := policies(d.Destination); p != nil && p.LoadBalancer != nil && len(p.LoadBalancer.Hash) > 0 {
			f.HashPolicy = hash(p.LoadBalancer.Hash)
			break
		}
	}
	return f, nil
}

// weighted shares requests out. Envoy wants a sum between 1 and what 32 bits hold.
func weighted(to []model.Weighted) (*routev3.WeightedCluster, error) {
	var sum, scale uint64 = 0, 1
	for _, d := range to {
		sum += uint64(d.Weight)
	}
	if sum == 0 && len(to) > 1 {
		return nil, errors.New("all weights are 0")
	}
	scale += sum / math.MaxUint32
	out := &routev3.WeightedCluster{}
	for _, d := range to {
		weight := uint32(uint64(d.Weight) / scale)
		if len(to) == 1 {
			weight = 1
		}
		request, response := headers(d.Request), headers(d.Response)
		c := &routev3.WeightedCluster_ClusterWeight{
			Name: ClusterName(d.Destination), Weight: wrapperspb.UInt32(weight),
			RequestHeadersToAdd: request.set, RequestHeadersToRemove: request.remove,
			ResponseHeadersToAdd: response.set, ResponseHeadersToRemove: response.remove,
		}
		if request.authority != "" {
			c.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: request.authority}
		}
		out.Clusters = append(out.Clusters, c)
	}
	return out, nil
}

func rewrite(r *model.Route, f *routev3.RouteAction, authority string) error {
	w := r.Rewrite
	if w == nil {
		w = &model.Rewrite{}
	}
	if host := cmp.Or(w.Authority, authority); host != "" {
		f.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: host}
	}
	switch {
	case w.Path != "":
		f.RegexRewrite = replace("^(?s).*$", strings.ReplaceAll(w.Path, `\`, `\\`)) // anchored, so that it is replaced once
	case w.Regex != "":
		re, err := compile(w.Regex)
		if err != nil {
			return fmt.Errorf("rewrite: %w", err)
		}
		if err := substitution(re, w.Substitution); err != nil {
			return fmt.Errorf("rewrite: %w", err)
		}
		f.RegexRewrite = replace(w.Regex, w.Substitution)
	case w.HasPrefix:
		f.PrefixRewrite = cmp.Or(w.Prefix, "/") // to Envoy an empty one is none, and no path is empty
	}
	return nil
}

func replace(pattern, substitution string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: pattern}, Substitution: substitution}
}

func redirect(d *model.Redirect) *routev3.RedirectAction {
	out := &routev3.RedirectAction{HostRedirect: d.Authority, PortRedirect: uint32(d.Port), ResponseCode: redirectCodes[d.Status]}
	if d.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: d.Scheme}
	}
	switch {
	case d.Path != "":
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: d.Path}
	case d.HasPrefix:
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: cmp.Or(d.Prefix, "/")}
	}
	return out
}

var redirectCodes = map[uint16]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY, 302: routev3.RedirectAction_FOUND, 303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT, 308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

const (
	defaultAttempts = 2 // that Istio gives to every route that says nothing of retries
	statusCodes     = "retriable-status-codes"
	hostAttempts    = 5 // how often another endpoint is drawn when one is drawn that has been tried
)

func retry(r *model.Retry) *routev3.RetryPolicy {
	if r == nil {
		r = &model.Retry{Attempts: defaultAttempts}
	}
	if r.Attempts == 0 {
		return nil
	}
	out := &routev3.RetryPolicy{NumRetries: wrapperspb.UInt32(r.Attempts)}
	var on []string
	for condition := range strings.SplitSeq(cmp.Or(r.On, model.RetryOnDefault), ",") {
		condition = strings.TrimSpace(condition)
		if code, err := strconv.ParseUint(condition, 10, 16); err == nil {
			out.RetriableStatusCodes = append(out.RetriableStatusCodes, uint32(code))
		} else if condition != "" && condition != statusCodes {
			on = append(on, condition)
		}
	}
	if len(out.RetriableStatusCodes) > 0 {
		on = append(on, statusCodes)
	}
	out.RetryOn = utf8(strings.Join(on, ","))
	if r.PerTry > 0 {
		out.PerTryTimeout = durationpb.New(r.PerTry)
	}
	if !r.IgnorePrior {
		out.HostSelectionRetryMaxAttempts = hostAttempts
		out.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: pack(&previoushostsv3.PreviousHostsPredicate{})},
		}}
	}
	if r.Backoff > 0 {
		// Envoy takes whole milliseconds; the longest wait is ten times the first, which is its default too.
		base := max(r.Backoff, time.Millisecond)
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(base), MaxInterval: durationpb.New(10 * min(base, time.Hour))}
	}
	return out
}

func hash(on []model.HashOn) (out []*routev3.RouteAction_HashPolicy) {
	for _, h := range on {
		p := &routev3.RouteAction_HashPolicy{Terminal: true}
		switch {
		case sayable(h.Header):
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: h.Header}}
		case h.Cookie != nil && h.Cookie.Name != "":
			c := &routev3.RouteAction_HashPolicy_Cookie{Name: h.Cookie.Name, Path: h.Cookie.Path}
			if h.Cookie.TTL != nil {
				c.Ttl = durationpb.New(max(0, *h.Cookie.TTL))
			}
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_Cookie_{Cookie: c}
		case h.SourceIP:
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_ConnectionProperties_{ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true}}
		case h.Query != "":
			p.PolicySpecifier = &routev3.RouteAction_HashPolicy_QueryParameter_{QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: h.Query}}
		default:
			continue
		}
		out = append(out, p)
	}
	return out
}

// share says a percentage of 0 to 100 in millionths.
func share(percent float64) *typev3.FractionalPercent {
	if !(percent > 0) { // not a number is no share
		percent = 0
	}
	return &typev3.FractionalPercent{Numerator: uint32(math.Round(min(percent, 100) * 10_000)), Denominator: typev3.FractionalPercent_MILLION}
}
