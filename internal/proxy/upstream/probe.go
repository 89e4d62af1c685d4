package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	http1 "github.com/weftmesh/weft/internal/proxy/http1/transport"
	http2 "github.com/weftmesh/weft/internal/proxy/http2/transport"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// connectForCheck connects as a request would, but for the port, and counts nothing.
func (e *Endpoint) connectForCheck(ctx context.Context, c *checkConfig, alpn []string) (net.Conn, error) {
	to := *e.address.Load()
	port := c.port
	if p := e.attrs.Load().check.GetPortValue(); p > 0 && p <= 65535 {
		port = uint16(p)
	}
	if port != 0 {
		moved := make([]address, 0, len(to))
		for _, a := range to {
			if a.ip.IsValid() {
				a = ipAddress(netip.AddrPortFrom(a.ip.Addr(), port))
			}
			moved = append(moved, a)
		}
		to = moved
	}
	nc, _, err := e.connect(ctx, e.pools.Load().transport, key{}, alpn, to)
	if err != nil {
		e.cluster.stats.check.networkFailure.Add(1)
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(deadline)
	}
	return nc, nil
}

// exchange sends a request on a connection of its own and reads the response's head, its body as far as limit, and its trailers.
func (e *Endpoint) ask(ctx context.Context, c *checkConfig, two bool, req *message.Request, body []byte, limit int64) (r message.Response, got []byte, trailers *message.Fields, err error) {
	alpn := offerHTTP1
	if two {
		alpn = offerHTTP2
	}
	nc, err := e.connectForCheck(ctx, c, alpn)
	if err != nil {
		return r, nil, nil, err
	}
	var client interface {
		Start(*message.Request, int64) (message.ClientStream, error)
		Close() error
	}
	if two {
		client = http2.NewClient(nc, http2.Options{})
	} else {
		client = http1.NewClient(nc, http1.Options{})
	}
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	s, err := client.Start(req, int64(len(body)))
	if err != nil {
		return r, nil, nil, err
	}
	defer s.Close(message.Done)
	if len(body) > 0 {
		if _, err = s.Write(body); err == nil {
			err = s.Finish(nil)
		}
		if err != nil {
			return r, nil, nil, err
		}
	}
	for {
		if err = s.ReadHead(&r); err != nil {
			return r, nil, nil, err
		}
		if r.Status >= 200 {
			break
		}
	}
	// What the stream shows is gone with it.
	kept := message.Response{Status: r.Status}
	for _, f := range r.Fields.All() {
		kept.Fields.Add(strings.Clone(f.Name), strings.Clone(f.Value))
	}
	if limit == 0 {
		return kept, nil, nil, nil
	}
	got, err = io.ReadAll(io.LimitReader(s, limit))
	if err != nil {
		return kept, got, nil, err
	}
	var end message.Fields
	if t := s.ResponseTrailers(); t != nil {
		for _, f := range t.All() {
			end.Add(strings.Clone(f.Name), strings.Clone(f.Value))
		}
	}
	return kept, got, &end, nil
}

// host is what a check's request is addressed to.
func (e *Endpoint) checkHost(configured string) string {
	a := e.attrs.Load()
	for _, h := range []string{a.check.GetHostname(), configured, a.hostname} {
		if h != "" {
			return h
		}
	}
	return e.cluster.name
}

func (e *Endpoint) scheme() string {
	if e.pools.Load().transport.tls != nil {
		return "https"
	}
	return "http"
}

// httpProbe asks for a path and looks at the status.
type httpProbe struct {
	host, path, method string
	add                []message.Field
	remove             []string
	expected           [][2]int64 // from, to (exclusive)
	two                bool
}

func compileHTTPProbe(r *corev3.HealthCheck_HttpHealthCheck, h httpConfig) (*httpProbe, error) {
	p := &httpProbe{host: r.GetHost(), path: r.GetPath(), method: "GET", two: h.protocol == speakHTTP2}
	if p.path == "" {
		return nil, field.Errorf("path", "is empty")
	}
	if m := r.GetMethod(); m != corev3.RequestMethod_METHOD_UNSPECIFIED {
		p.method = m.String()
	}
	if len(r.GetReceive()) > 0 || r.GetSend() != nil || r.GetServiceNameMatcher() != nil {
		return nil, field.Errorf("receive", "send, receive and service_name_matcher are not supported")
	}
	switch r.GetCodecClientType().String() {
	case "HTTP2":
		p.two = true
	case "HTTP3":
		return nil, field.Errorf("codec_client_type", "HTTP3 is not supported")
	}
	p.add = headersToAdd(r.GetRequestHeadersToAdd())
	for _, n := range r.GetRequestHeadersToRemove() {
		p.remove = append(p.remove, strings.ToLower(n))
	}
	for _, s := range r.GetExpectedStatuses() {
		p.expected = append(p.expected, [2]int64{s.GetStart(), s.GetEnd()})
	}
	if len(p.expected) == 0 {
		p.expected = [][2]int64{{200, 201}}
	}
	return p, nil
}

func headersToAdd(list []*corev3.HeaderValueOption) (out []message.Field) {
	for _, h := range list {
		out = append(out, message.Field{Name: strings.ToLower(h.GetHeader().GetKey()), Value: h.GetHeader().GetValue()})
	}
	return out
}

func (p *httpProbe) check(ctx context.Context, e *Endpoint, c *checkConfig) error {
	req := &message.Request{Method: p.method, Scheme: e.scheme(), Authority: e.checkHost(p.host), Path: p.path, Version: message.HTTP11}
	req.Fields.Add("user-agent", "weft/health-check")
	for _, f := range p.add {
		req.Fields.Add(f.Name, f.Value)
	}
	for _, n := range p.remove {
		req.Fields.Del(n)
	}
	r, _, _, err := e.ask(ctx, c, p.two, req, nil, 0)
	if err != nil {
		return err
	}
	for _, s := range p.expected {
		if int64(r.Status) >= s[0] && int64(r.Status) < s[1] {
			return nil
		}
	}
	return fmt.Errorf("the answer to %s is %d", p.path, r.Status)
}

// grpcProbe calls grpc.health.v1.Health/Check.
type grpcProbe struct {
	service, authority string
	metadata           []message.Field
}

func compileGRPCProbe(r *corev3.HealthCheck_GrpcHealthCheck, h httpConfig) (*grpcProbe, error) {
	if h.protocol != speakHTTP2 {
		return nil, field.Errorf("service_name", "the cluster does not speak HTTP/2")
	}
	if len(r.GetServiceName()) > 127 {
		return nil, field.Errorf("service_name", "is longer than 127 bytes")
	}
	return &grpcProbe{r.GetServiceName(), r.GetAuthority(), headersToAdd(r.GetInitialMetadata())}, nil
}

func (p *grpcProbe) check(ctx context.Context, e *Endpoint, c *checkConfig) error {
	req := &message.Request{
		Method: "POST", Scheme: e.scheme(), Authority: e.checkHost(p.authority), Path: "/grpc.health.v1.Health/Check", Version: message.HTTP2,
	}
	req.Fields.Add("content-type", "application/grpc")
	req.Fields.Add("te", "trailers")
	for _, f := range p.metadata {
		req.Fields.Add(f.Name, f.Value)
	}
	body := []byte{0, 0, 0, 0, 0} // not compressed, and the length
	if p.service != "" {
		body[4] = byte(len(p.service) + 2)
		body = append(append(body, 0x0a, byte(len(p.service))), p.service...) // HealthCheckRequest.service
	}
	r, got, trailers, err := e.ask(ctx, c, true, req, body, 1<<10)
	if err != nil {
		return err
	}
	status, ok := trailers.Get("grpc-status")
	if !ok {
		status, _ = r.Fields.Get("grpc-status")
	}
	switch {
	case r.Status != 200 || status != "0":
		return fmt.Errorf("the answer is %d, grpc-status %q", r.Status, status)
	case !bytes.Equal(got, []byte{0, 0, 0, 0, 2, 0x08, 0x01}): // HealthCheckResponse.status: SERVING
		return errors.New("it is not serving")
	}
	return nil
}

// tcpProbe connects, sends, and waits for what is expected, in its order.
type tcpProbe struct {
	send    []byte
	receive [][]byte
}

func compileTCPProbe(r *corev3.HealthCheck_TcpHealthCheck) (p *tcpProbe, err error) {
	p = &tcpProbe{}
	if p.send, err = payload(r.GetSend()); err != nil {
		return nil, field.In("send", err)
	}
	for i, one := range r.GetReceive() {
		b, err := payload(one)
		if err != nil {
			return nil, field.At("receive", i, err)
		}
		p.receive = append(p.receive, b)
	}
	return p, nil
}

func (p *tcpProbe) check(ctx context.Context, e *Endpoint, c *checkConfig) error {
	nc, err := e.connectForCheck(ctx, c, nil)
	if err != nil {
		return err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if len(p.send) > 0 {
		if _, err := nc.Write(p.send); err != nil {
			return err
		}
	}
	var seen []byte
	buf := make([]byte, 512)
	for next := 0; next < len(p.receive); {
		if i := bytes.Index(seen, p.receive[next]); i >= 0 {
			seen = seen[i+len(p.receive[next]):]
			next++
			continue
		}
		if len(seen) > 64<<10 {
			return errors.New("what was expected did not come")
		}
		n, err := nc.Read(buf)
		if seen = append(seen, buf[:n]...); err != nil && n == 0 {
			return err
		}
	}
	return nil
}
