// Package fault makes requests slow or fail on purpose, as Envoy's filter envoy.filters.http.fault: first a delay for a part of them, then an abort for a
// part of them.
//
// A policy (envoy.extensions.filters.http.fault.v3.HTTPFault) belongs to a listener, or to a route, virtual host or table, of which the most specific
// counts alone. It holds for requests with all of its header fields, of its downstream_nodes and to its upstream_cluster, where it names any. At most
// max_active_faults requests of one policy are delayed at a time; the others go on as if there were no fault. Delays and aborts that a request's own
// fields ask for (header_delay, header_abort) never happen, and response_rate_limit is refused.
package fault

import (
	"slices"
	"sync/atomic"
	"time"

	faultcommon "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Policy is what goes wrong, how often and for whom.
type Policy struct {
	delay      time.Duration
	delayed    match.Fraction
	status     int // 0: nothing is aborted
	grpcStatus int
	body       []byte
	aborted    match.Fraction

	cluster string
	headers []match.Header
	nodes   []string
	most    int64        // delayed at a time; negative is no limit
	active  atomic.Int64 // delayed now
}

// What the exchange's number is used for.
const (
	drawDelay = 1<<32 + 1 + iota
	drawAbort
)

// New compiles a policy.
func New(m *faultv3.HTTPFault) (*Policy, error) {
	if err := field.Only(m, "delay", "abort", "upstream_cluster", "headers", "downstream_nodes", "max_active_faults", "delay_percent_runtime",
		"abort_percent_runtime", "delay_duration_runtime", "abort_http_status_runtime", "max_active_faults_runtime", "response_rate_limit_percent_runtime",
		"abort_grpc_status_runtime", "disable_downstream_cluster_stats", "filter_metadata"); err != nil {
		return nil, err
	}
	p := &Policy{cluster: m.GetUpstreamCluster(), nodes: m.GetDownstreamNodes(), most: -1}
	if n := m.GetMaxActiveFaults(); n != nil {
		p.most = int64(n.GetValue())
	}
	var err error
	if p.headers, err = match.NewHeaders("headers", m.GetHeaders()); err != nil {
		return nil, err
	}
	if d, ok := m.GetDelay().GetFaultDelaySecifier().(*faultcommon.FaultDelay_FixedDelay); ok {
		if err := d.FixedDelay.CheckValid(); err != nil {
			return nil, field.In("delay.fixed_delay", err)
		}
		if p.delay = d.FixedDelay.AsDuration(); p.delay <= 0 {
			return nil, field.Errorf("delay.fixed_delay", "%v is not above 0", p.delay)
		}
		if p.delayed, err = match.NewFraction(m.GetDelay().GetPercentage()); err != nil {
			return nil, field.In("delay.percentage", err)
		}
	}
	return p, field.In("abort", p.abort(m.GetAbort()))
}

func (p *Policy) abort(m *faultv3.FaultAbort) error {
	switch a := m.GetErrorType().(type) {
	case *faultv3.FaultAbort_HttpStatus:
		if a.HttpStatus < 200 || a.HttpStatus > 599 {
			return field.Errorf("http_status", "%d is no final status", a.HttpStatus)
		}
		p.status = int(a.HttpStatus)
	case *faultv3.FaultAbort_GrpcStatus:
		p.grpcStatus = int(min(a.GrpcStatus, 1<<30))
		p.status = httpStatus(a.GrpcStatus)
	}
	p.body = []byte("fault filter abort")
	if m.GetResponseBody() != "" {
		p.body = []byte(m.GetResponseBody())
	}
	var err error
	p.aborted, err = match.NewFraction(m.GetPercentage())
	return field.In("percentage", err)
}

// Request delays and aborts.
func (p *Policy) Request(x filter.Exchange, reply *filter.Reply) bool {
	info := x.Info()
	if !p.concerns(info) {
		return false
	}
	if p.delay > 0 && p.delayed.Hit(match.Draw(info.Random, drawDelay)) && !p.hold(x) {
		return false
	}
	if p.status == 0 || !p.aborted.Hit(match.Draw(info.Random, drawAbort)) {
		return false
	}
	info.Flags |= message.FaultInjected
	reply.Response.Status, reply.Details, reply.Body, reply.GRPCStatus = p.status, "fault_filter_abort", p.body, p.grpcStatus
	reply.Response.Fields.Set("content-type", "text/plain")
	return true
}

// hold delays an exchange. It is false when there is nothing more to do with it.
func (p *Policy) hold(x filter.Exchange) bool {
	defer p.active.Add(-1)
	if n := p.active.Add(1); p.most >= 0 && n > p.most {
		return false
	}
	x.Info().Flags |= message.DelayInjected
	return x.Wait(p.delay)
}

func (p *Policy) concerns(info *message.Info) bool {
	if p.cluster != "" && p.cluster != info.UpstreamCluster {
		return false
	}
	if len(p.nodes) > 0 {
		node, _ := info.Request.Fields.Get("x-envoy-downstream-service-node")
		if !slices.Contains(p.nodes, node) {
			return false
		}
	}
	for i := range p.headers {
		if !p.headers[i].Match(info.Request) {
			return false
		}
	}
	return true
}

// Response does nothing.
func (p *Policy) Response(filter.Exchange, *message.Response) {}

// httpStatus is what clients see of a gRPC status if they do not speak gRPC.
func httpStatus(grpc uint32) int {
	switch grpc {
	case 0:
		return 200
	case 1: // cancelled
		return 499
	case 3, 9, 11: // invalid argument, failed precondition, out of range
		return 400
	case 4: // deadline exceeded
		return 504
	case 5: // not found
		return 404
	case 6, 10: // already exists, aborted
		return 409
	case 7: // permission denied
		return 403
	case 8: // resource exhausted
		return 429
	case 12: // unimplemented
		return 501
	case 14: // unavailable
		return 503
	case 16: // unauthenticated
		return 401
	}
	return 500
}
