package hcm

import (
	"strconv"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/trace"
)

// spans is the part of an exchange that is traced, if it is.
type spans struct {
	whole      trace.Context
	parent     [8]byte
	attempt    trace.Context // of the attempt that is under way, where attempts have spans of their own
	attemptAt  time.Time
	attributes []byte // of whole, what is known when it begins
	host       []byte // as it was asked for
}

// beginSpan decides whether the exchange is traced, before anybody changes the request's head.
func (x *exchange) beginSpan() {
	s := &x.spans
	s.whole, s.parent = x.m.tracer.Begin(&x.info)
	if !s.whole.Sampled {
		return
	}
	req := x.info.Request
	field := func(name string) string {
		v, ok := req.Fields.Get(name)
		if !ok {
			return "-"
		}
		return v
	}
	url := append([]byte(req.Scheme), "://"...)
	url = append(append(url, req.Authority...), req.Path[:min(len(req.Path), x.m.tracer.MaxPath)]...)
	s.host = append(s.host[:0], req.Authority[:min(len(req.Authority), x.m.tracer.MaxPath)]...)
	b := s.attributes[:0]
	b = trace.AppendString(b, "guid:x-request-id", field("x-request-id"))
	b = trace.AppendString(b, "http.url", string(url))
	b = trace.AppendString(b, "http.method", req.Method)
	b = trace.AppendString(b, "http.protocol", req.Version.String())
	b = trace.AppendString(b, "downstream_cluster", field("x-envoy-downstream-service-cluster"))
	b = trace.AppendString(b, "user_agent", field("user-agent"))
	b = trace.AppendString(b, "peer.address", x.info.Peer.Addr().Unmap().String())
	if x.info.PeerURISAN != "" {
		b = trace.AppendString(b, "peer.principal", x.info.PeerURISAN)
	}
	if x.grpc {
		b = trace.AppendString(b, "grpc.path", req.Path[:min(len(req.Path), x.m.tracer.MaxPath)])
		b = trace.AppendString(b, "grpc.authority", req.Authority)
	}
	s.attributes = x.m.tracer.Tags(b, &req.Fields)
}

// beginAttempt begins the span of an attempt, in which the endpoint's own is to be.
func (x *exchange) beginAttempt() {
	if s := &x.spans; s.whole.Sampled && x.m.tracer.Spawn {
		s.attempt, s.attemptAt = trace.Child(s.whole, &x.info.Request.Fields), time.Now()
	}
}

// endAttempt ends it. Without a response status is 0.
func (x *exchange) endAttempt(status int) {
	s := &x.spans
	if !s.attempt.Sampled {
		return
	}
	b := x.destinationTags(append([]byte(nil), x.m.env.SpanTags...))
	b = trace.AppendString(b, "http.status_code", strconv.Itoa(status))
	b = trace.AppendString(b, "response_flags", x.info.Flags.String())
	if x.info.Upstream.IsValid() {
		b = trace.AppendString(b, "peer.address", x.info.Upstream.String())
	}
	failed := status == 0 || status >= 500
	if failed {
		b = trace.AppendString(b, "error", "true")
	}
	x.m.tracer.Exporter.Export(x.c.Shard, &trace.Span{
		Context: s.attempt, Parent: s.whole.SpanID, Name: "router " + x.info.UpstreamCluster + " egress", Kind: trace.Client, Start: s.attemptAt, End: time.Now(),
		Failed: failed, Attributes: b,
	})
	s.attempt = trace.Context{}
}

// endSpan ends the exchange's span.
func (x *exchange) endSpan() {
	s := &x.spans
	if !s.whole.Sampled {
		return
	}
	status := 0
	if x.info.Response != nil {
		status = x.info.Response.Status
	}
	x.endAttempt(status)
	name, kind := "egress "+string(s.host), trace.Client
	if x.m.inbound {
		name, kind = "ingress", trace.Server
	}
	if x.m.tracer.Spawn {
		kind = trace.Server // the attempts are the clients
	}
	if x.route != nil && x.route.Operation != "" {
		name = x.route.Operation
	}
	b := x.destinationTags(append(s.attributes, x.m.env.SpanTags...))
	b = trace.AppendString(b, "http.status_code", strconv.Itoa(status))
	b = trace.AppendString(b, "response_flags", x.info.Flags.String())
	b = trace.AppendString(b, "request_size", strconv.FormatInt(x.info.BytesReceived, 10))
	b = trace.AppendString(b, "response_size", strconv.FormatInt(x.info.BytesSent, 10))
	if x.grpc && x.status >= 0 {
		b = trace.AppendString(b, "grpc.status_code", strconv.Itoa(x.status))
	}
	failed := status == 0 || status >= 500 || x.info.Flags&message.FaultInjected != 0 && status >= 400
	if failed {
		b = trace.AppendString(b, "error", "true")
	}
	x.m.tracer.Exporter.Export(x.c.Shard, &trace.Span{
		Context: s.whole, Parent: s.parent, Name: name, Kind: kind, Start: x.info.Start, End: x.info.Start.Add(x.info.Duration), Failed: failed, Attributes: b,
	})
	s.attributes = b[:0]
}

// destinationTags tells where the request went.
func (x *exchange) destinationTags(b []byte) []byte {
	b = trace.AppendString(b, "component", "proxy")
	if x.info.UpstreamCluster != "" {
		b = trace.AppendString(b, "upstream_cluster", x.info.UpstreamCluster)
		b = trace.AppendString(b, "upstream_cluster.name", x.info.UpstreamCluster)
	}
	if x.info.Upstream.IsValid() {
		b = trace.AppendString(b, "upstream_address", x.info.Upstream.String())
	}
	return b
}
