package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/trace"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// maxFetched is how much of an answer is taken, in bytes.
const maxFetched = 1 << 20

// fetch implements [filter.Fetch].
func (s *Server) fetch(ctx context.Context, cluster, uri string) ([]byte, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	req := &message.Request{Method: "GET", Scheme: u.Scheme, Authority: u.Host, Path: u.RequestURI(), Version: message.HTTP11}
	req.Fields.Add("accept", "application/json")
	a, err := s.call(ctx, cluster, req, nil)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", uri, err)
	case a.status != 200:
		return nil, fmt.Errorf("%s: status %d", uri, a.status)
	}
	return a.body, nil
}

// sendSpans implements [trace.Send].
func (s *Server) sendSpans(ctx context.Context, to trace.Target, body []byte) error {
	req := &message.Request{
		Method: "POST", Scheme: "http", Authority: to.Authority, Path: "/opentelemetry.proto.collector.trace.v1.TraceService/Export", Version: message.HTTP2,
	}
	if to.HTTP != "" {
		u, err := url.Parse(to.HTTP)
		if err != nil {
			return err
		}
		req.Authority, req.Path, req.Version = u.Host, u.RequestURI(), message.HTTP11
		req.Fields.Add("content-type", "application/x-protobuf")
	} else {
		req.Fields.Add("content-type", "application/grpc")
		req.Fields.Add("te", "trailers")
		body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...) // not compressed
	}
	a, err := s.call(ctx, to.Cluster, req, body)
	switch {
	case err != nil:
		return err
	case a.status/100 != 2:
		return fmt.Errorf("status %d", a.status)
	case to.HTTP == "" && a.grpc != "0":
		return fmt.Errorf("grpc-status %q", a.grpc)
	}
	return nil
}

// answer is what came of a request of the proxy's own.
type answer struct {
	status int
	body   []byte
	grpc   string // grpc-status
}

// call sends a request of the proxy's own to a cluster.
func (s *Server) call(ctx context.Context, cluster string, req *message.Request, body []byte) (a answer, err error) {
	c := s.clusters.Get(cluster)
	if c == nil {
		return a, fmt.Errorf("there is no cluster %s", cluster)
	}
	req.Fields.Add("user-agent", "weft")
	cs, ep, err := c.Start(ctx, req, int64(len(body)), &upstream.PickContext{Downstream: req.Version})
	if err != nil {
		return a, err
	}
	result, reason := upstream.Result{Failure: upstream.Reset}, message.Cancelled
	defer func() {
		ep.Done(result)
		cs.Close(reason)
	}()
	if deadline, ok := ctx.Deadline(); ok {
		_ = cs.SetReadDeadline(deadline)
		_ = cs.SetWriteDeadline(deadline)
	}
	if len(body) > 0 {
		if _, err := cs.Write(body); err != nil {
			return a, err
		}
		if err := cs.Finish(nil); err != nil {
			return a, err
		}
	}
	var resp message.Response
	for resp.Status < 200 {
		resp.Reset()
		if err := cs.ReadHead(&resp); err != nil {
			return a, err
		}
	}
	a.status = resp.Status
	a.grpc, _ = resp.Fields.Get("grpc-status")
	result = upstream.Result{Status: resp.Status}
	if a.body, err = io.ReadAll(io.LimitReader(cs, maxFetched+1)); err != nil {
		return a, err
	}
	if len(a.body) > maxFetched {
		return a, errors.New("the answer is too long")
	}
	if t := cs.ResponseTrailers(); t != nil && a.grpc == "" {
		a.grpc, _ = t.Get("grpc-status")
	}
	a.grpc = strings.Clone(a.grpc)
	reason = message.Done
	return a, nil
}
