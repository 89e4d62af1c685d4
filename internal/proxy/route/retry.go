package route

import (
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// RetryOn is a set of reasons to send a request again.
type RetryOn uint32

// The reasons, in the words of x-envoy-retry-on and x-envoy-retry-grpc-on.
const (
	On5xx                  RetryOn = 1 << iota // also no response at all
	OnGatewayError                             // 502, 503, 504
	OnReset                                    // no response at all: the connection broke, or the stream was reset, or it took too long
	OnResetBeforeRequest                       // the same, when nothing of the request was sent
	OnConnectFailure                           // no connection
	OnEnvoyRateLimited                         // x-envoy-ratelimited
	OnRetriable4xx                             // 409
	OnRefusedStream                            // the stream was refused, so nobody began with it
	OnRetriableStatusCodes                     // Retry.Statuses
	OnRetriableHeaders
	OnHTTP3PostConnectFailure
	OnGRPCCancelled
	OnGRPCDeadlineExceeded
	OnGRPCInternal
	OnGRPCResourceExhausted
	OnGRPCUnavailable
)

var retryNames = map[string]RetryOn{
	"5xx": On5xx, "gateway-error": OnGatewayError, "reset": OnReset, "reset-before-request": OnResetBeforeRequest, "connect-failure": OnConnectFailure,
	"envoy-ratelimited": OnEnvoyRateLimited, "retriable-4xx": OnRetriable4xx, "refused-stream": OnRefusedStream,
	"retriable-status-codes": OnRetriableStatusCodes, "retriable-headers": OnRetriableHeaders, "http3-post-connect-failure": OnHTTP3PostConnectFailure,
	"cancelled": OnGRPCCancelled, "deadline-exceeded": OnGRPCDeadlineExceeded, "internal": OnGRPCInternal,
	"resource-exhausted": OnGRPCResourceExhausted, "unavailable": OnGRPCUnavailable,
}

// grpcStatus is the reasons by grpc-status.
var grpcStatus = map[string]RetryOn{
	"1": OnGRPCCancelled, "4": OnGRPCDeadlineExceeded, "8": OnGRPCResourceExhausted, "13": OnGRPCInternal, "14": OnGRPCUnavailable,
}

// ParseRetryOn reads a list with commas. Words that it does not know are left out, as Envoy does.
func ParseRetryOn(list string) RetryOn {
	var on RetryOn
	for word := range strings.SplitSeq(list, ",") {
		on |= retryNames[strings.TrimSpace(word)]
	}
	return on
}

// Has tells whether one of the reasons is in the set.
func (on RetryOn) Has(reason RetryOn) bool { return on&reason != 0 }

func newRetry(m *routev3.RetryPolicy) (*Retry, error) {
	if err := field.Only(m, "retry_on", "num_retries", "per_try_timeout", "retry_host_predicate", "host_selection_retry_max_attempts",
		"retriable_status_codes", "retry_back_off", "retriable_headers", "retriable_request_headers", "retry_priority", "rate_limited_retry_back_off",
		"refresh_cluster_on_retry"); err != nil {
		return nil, err
	}
	r := &Retry{On: ParseRetryOn(m.GetRetryOn()), Retries: 1, BackOff: 25 * time.Millisecond, HostAttempts: 1}
	if n := m.GetNumRetries(); n != nil {
		r.Retries = int(n.GetValue())
	}
	if n := m.GetHostSelectionRetryMaxAttempts(); n > 0 {
		r.HostAttempts = int(min(n, 1000))
	}
	var l limits
	r.PerTry = l.read("per_try_timeout", m.GetPerTryTimeout())
	if b := m.GetRetryBackOff(); b != nil {
		r.BackOff, r.MaxBackOff = l.read("retry_back_off.base_interval", b.GetBaseInterval()), l.read("retry_back_off.max_interval", b.GetMaxInterval())
		if l.err == nil && (r.BackOff < time.Millisecond || b.GetMaxInterval() != nil && r.MaxBackOff < r.BackOff) {
			return nil, field.Errorf("retry_back_off", "base_interval is at least 1 ms, and max_interval no less than it")
		}
	}
	if r.MaxBackOff == 0 {
		r.MaxBackOff = 10 * r.BackOff
	}
	if l.err != nil {
		return nil, l.err
	}
	for _, code := range m.GetRetriableStatusCodes() {
		r.Statuses = append(r.Statuses, int(code))
	}
	for i, p := range m.GetRetryHostPredicate() {
		if !strings.HasSuffix(p.GetTypedConfig().GetTypeUrl(), "/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate") &&
			(p.GetTypedConfig() != nil || p.GetName() != "envoy.retry_host_predicates.previous_hosts") {
			return nil, field.At("retry_host_predicate", i, field.Errorf("name", "%q: only previous_hosts is known", p.GetName()))
		}
		r.PreviousHosts = true
	}
	var err error
	if r.headers, err = match.NewHeaders("retriable_headers", m.GetRetriableHeaders()); err != nil {
		return nil, err
	}
	r.requestHeaders, err = match.NewHeaders("retriable_request_headers", m.GetRetriableRequestHeaders())
	return r, err
}

// Allows tells whether a request may be sent again at all, by its header fields.
func (r *Retry) Allows(q *message.Request) bool {
	for i := range r.requestHeaders {
		if r.requestHeaders[i].Match(q) {
			return true
		}
	}
	return len(r.requestHeaders) == 0
}

// Again tells whether a response is a reason to send the request again.
func (r *Retry) Again(resp *message.Response) bool {
	if _, limited := resp.Fields.Get("x-envoy-ratelimited"); limited {
		return r.On.Has(OnEnvoyRateLimited)
	}
	s := resp.Status
	switch {
	case s >= 500 && s <= 599 && r.On.Has(On5xx),
		s >= 502 && s <= 504 && r.On.Has(OnGatewayError),
		s == 409 && r.On.Has(OnRetriable4xx),
		r.On.Has(OnRetriableStatusCodes) && slices.Contains(r.Statuses, s):
		return true
	}
	if r.On.Has(OnRetriableHeaders) {
		for i := range r.headers {
			if r.headers[i].MatchFields(&resp.Fields) {
				return true
			}
		}
	}
	code, _ := resp.Fields.Get("grpc-status") // in the head only if there is no body
	return code != "" && r.On.Has(grpcStatus[code])
}
