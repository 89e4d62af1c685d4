package istio

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/model"
)

// retryConditions are those of Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on. Status codes may stand among them.
var retryConditions = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx", "refused-stream", "retriable-status-codes",
	"retriable-headers", "envoy-ratelimited", "http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

func (s spot) retry(in *networking.HTTPRetry) *model.Retry {
	if in == nil {
		return nil
	}
	out := &model.Retry{Attempts: s.in("attempts").count(in.Attempts)}
	if out.Attempts == 0 {
		if in.PerTryTimeout != nil || in.RetryOn != "" || in.RetryRemoteLocalities != nil {
			s.warnf(codeNoEffect, "attempts is 0, so that nothing is sent again")
		}
		return out
	}
	if in.RetryOn != "" {
		out.On = s.in("retryOn").retryOn(in.RetryOn)
	}
	out.PerTry = s.in("perTryTimeout").duration(in.PerTryTimeout)
	out.Backoff = s.in("backoff").duration(in.Backoff)
	out.IgnorePrior = in.RetryIgnorePreviousHosts != nil && !in.RetryIgnorePreviousHosts.Value
	s.in("retryRemoteLocalities").unsupported(in.RetryRemoteLocalities.GetValue())
	return out
}

func (s spot) retryOn(in string) string {
	var out []string
	for c := range strings.SplitSeq(in, ",") {
		c = strings.TrimSpace(c)
		status, err := strconv.Atoi(c)
		switch {
		case c == "":
		case err == nil && http.StatusText(status) != "" || slices.Contains(retryConditions, c):
			out = append(out, c)
		default:
			s.errorf(codeValue, "%q is neither a condition of Envoy's x-envoy-retry-on nor an HTTP status; it is left out", c)
		}
	}
	return strings.Join(out, ",")
}

func (s spot) fault(in *networking.HTTPFaultInjection) *model.Fault {
	if in == nil {
		return nil
	}
	if in.Delay == nil && in.Abort == nil {
		s.errorf(codeMissing, "one of delay and abort is needed")
	}
	out := &model.Fault{}
	if d := in.Delay; d != nil {
		s.in("delay").faultDelay(d, out)
	}
	if a := in.Abort; a != nil {
		s.in("abort").faultAbort(a, out)
	}
	if *out == (model.Fault{}) {
		return nil
	}
	return out
}

func (s spot) faultDelay(in *networking.HTTPFaultInjection_Delay, out *model.Fault) {
	if in.GetExponentialDelay() != nil {
		s.in("exponentialDelay").errorf(codeUnsupported, "is not supported; nothing is delayed")
		return
	}
	if in.GetFixedDelay() == nil {
		s.in("fixedDelay").errorf(codeMissing, "is needed; nothing is delayed")
		return
	}
	share, ok := s.share(in.Percentage, float64(in.Percent)) //nolint:staticcheck // deprecated, and still in use
	if delay := s.in("fixedDelay").duration(in.GetFixedDelay()); ok && delay > 0 {
		out.Delay, out.DelayShare = delay, share
	}
}

func (s spot) faultAbort(in *networking.HTTPFaultInjection_Abort, out *model.Fault) {
	share, ok := s.share(in.Percentage, 0)
	if !ok {
		return
	}
	switch e := in.ErrorType.(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		if e.HttpStatus < 200 || e.HttpStatus > 599 {
			s.in("httpStatus").errorf(codeStatus, "%d is not between 200 and 599; nothing is aborted", e.HttpStatus)
			return
		}
		out.AbortStatus, out.AbortShare = uint16(e.HttpStatus), share
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		var code codes.Code
		if err := code.UnmarshalJSON([]byte(strconv.Quote(e.GrpcStatus))); err != nil {
			s.in("grpcStatus").errorf(codeStatus, "%q is not the name of a gRPC status, as NOT_FOUND is; nothing is aborted", e.GrpcStatus)
			return
		}
		number := uint32(code)
		out.AbortGRPC, out.AbortShare = &number, share
	case *networking.HTTPFaultInjection_Abort_Http2Error:
		s.in("http2Error").errorf(codeUnsupported, "is not supported; nothing is aborted")
	default:
		s.errorf(codeMissing, "one of httpStatus and grpcStatus is needed; nothing is aborted")
	}
}

// share reads a percentage that has an older form.
func (s spot) share(p *networking.Percent, older float64) (float64, bool) {
	if p == nil {
		return s.in("percent").percentage(older)
	}
	return s.in("percentage").percentage(p.Value)
}

func (s *routes) mirrors(h *networking.HTTPRoute, at spot) (out []model.Mirror) {
	if h.Mirror != nil {
		share, ok := 100.0, true
		switch {
		case h.MirrorPercentage != nil:
			share, ok = at.in("mirrorPercentage").percentage(h.MirrorPercentage.Value)
		case h.MirrorPercent != nil: //nolint:staticcheck // deprecated, and still in use
			share, ok = at.in("mirrorPercent").percentage(float64(h.MirrorPercent.Value)) //nolint:staticcheck // as above
		}
		out = s.mirror(out, h.Mirror, share, ok, at.in("mirror"), at.in("mirror"))
		if len(h.Mirrors) > 0 {
			at.in("mirrors").errorf(codeConflict, "has no effect beside mirror")
		}
		return out
	}
	for i, m := range h.Mirrors {
		share, ok := 100.0, true
		if p := m.GetPercentage(); p != nil {
			share, ok = at.at("mirrors", i).in("percentage").percentage(p.Value)
		}
		out = s.mirror(out, m.GetDestination(), share, ok, at.at("mirrors", i), at.at("mirrors", i).in("destination"))
	}
	return out
}

func (s *routes) mirror(list []model.Mirror, d *networking.Destination, share float64, ok bool, at, destination spot) []model.Mirror {
	to := s.destination(d, destination, "nothing is mirrored")
	if !ok || share == 0 || to.Host == "" {
		return list
	}
	return append(list, model.Mirror{Destination: to, Share: share, Origin: at.where})
}

func (s spot) cors(in *networking.CorsPolicy) *model.CORS {
	if in == nil {
		return nil
	}
	out := &model.CORS{
		Methods: s.kept("allowMethods", in.AllowMethods, isCORSMethod), Headers: s.kept("allowHeaders", in.AllowHeaders, isCORSHeader),
		Expose:        s.kept("exposeHeaders", in.ExposeHeaders, isCORSHeader),
		ForwardOthers: in.UnmatchedPreflights != networking.CorsPolicy_IGNORE,
	}
	for i, o := range in.AllowOrigins {
		at := s.at("allowOrigins", i)
		m, ok := stringMatch(o, at, false)
		if m.Kind == model.MatchAny || m.Kind == model.MatchPresent || m.Kind == model.MatchExact && m.Value == "" {
			at.errorf(codeMatch, "one of exact, prefix and regex is needed; it is left out")
		} else if ok {
			out.Origins = append(out.Origins, m)
		}
	}
	if older := in.AllowOrigin; len(in.AllowOrigins) == 0 { //nolint:staticcheck // deprecated, and still in use
		for _, o := range older {
			out.Origins = append(out.Origins, model.StringMatch{Kind: model.MatchExact, Value: o})
		}
	}
	if in.MaxAge != nil {
		out.MaxAge = s.in("maxAge").duration(in.MaxAge)
		if out.MaxAge%time.Second != 0 {
			s.in("maxAge").errorf(codeDuration, "%v is not in whole seconds; %v is used", out.MaxAge, out.MaxAge.Truncate(time.Second))
			out.MaxAge = out.MaxAge.Truncate(time.Second)
		}
	}
	if c := in.AllowCredentials; c != nil {
		allow := c.Value // the message is not ours
		out.Credentials = &allow
	}
	return out
}

// kept is the texts that are what they should be.
func (s spot) kept(field string, list []string, good func(string) bool) (out []string) {
	for i, v := range list {
		if good(v) {
			out = append(out, v)
		} else {
			s.at(field, i).errorf(codeValue, "%q is not one that can stand here; it is left out", v)
		}
	}
	return out
}

func isCORSMethod(m string) bool {
	return slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"}, m)
}

func isCORSHeader(h string) bool { return h == "*" || isToken(h) }
