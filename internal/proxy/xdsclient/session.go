package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

// maxRejectionBytes is how long the text of a rejection may be.
const maxRejectionBytes = 4 << 10

// session is one stream.
type session struct {
	client   *Client
	stream   discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	greeted  bool // the node was sent
	answered bool
}

// run serves the stream until it ends, and cancels it then. A goroutine reads, so that subscriptions are sent while the server has nothing to say.
func (s *session) run(ctx context.Context, cancel func()) error {
	responses, failed := make(chan *discoveryv3.DeltaDiscoveryResponse), make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := s.stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case responses <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { cancel(); <-done }()
	s.client.connected()
	err := s.serve(ctx, responses, failed)
	for errors.Is(err, io.EOF) { // of a Send: the reader is about to be told why
		select {
		case <-responses:
		case err = <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (s *session) serve(ctx context.Context, responses <-chan *discoveryv3.DeltaDiscoveryResponse, failed <-chan error) error {
	err := s.subscriptions()
	for err == nil {
		select {
		case m := <-responses:
			err = s.receive(m)
		case <-s.client.kick:
			err = s.subscriptions()
		case err = <-failed:
			if errors.Is(err, io.EOF) {
				err = errors.New("the server ended the stream")
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return err
}

// subscriptions tells the server what is wanted, as far as it differs from what it was told.
func (s *session) subscriptions() error {
	s.client.repeat()
	for _, url := range inOrder {
		if m := s.client.request(url); m != nil {
			if err := s.send(m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *session) send(m *discoveryv3.DeltaDiscoveryRequest) error {
	if !s.greeted {
		m.Node, s.greeted = s.client.config.Node, true
	}
	return s.stream.Send(m)
}

// request makes the next request for a type; nil is none.
func (c *Client) request(url string) *discoveryv3.DeltaDiscoveryRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.types[url]
	if !r.changed {
		return nil
	}
	r.changed = false
	if r.forget() {
		c.dirty(url)
	}
	first := r.told == nil
	if first && !r.wildcard && len(r.wanted) == 0 {
		return nil // a first request without names would ask for all there is
	}
	m := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: url}
	if first {
		r.told = map[string]struct{}{}
		m.InitialResourceVersions = r.versions()
	}
	if !r.wildcard {
		m.ResourceNamesSubscribe, m.ResourceNamesUnsubscribe = r.difference()
	}
	if !first && len(m.ResourceNamesSubscribe) == 0 && len(m.ResourceNamesUnsubscribe) == 0 {
		return nil
	}
	return m
}

// receive applies a response and answers it.
func (s *session) receive(m *discoveryv3.DeltaDiscoveryResponse) error {
	s.answered = true
	c := s.client
	c.mu.Lock()
	r := c.types[m.GetTypeUrl()]
	known := r != nil && r.told != nil
	c.mu.Unlock()
	if !known {
		c.log.Warn("the server sent what nobody asked for", "type", m.GetTypeUrl())
		return nil
	}
	refused := c.apply(r, m)
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: m.GetTypeUrl(), ResponseNonce: m.GetNonce()}
	text := rejection(refused)
	if text != "" {
		answer.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: text}
		c.log.Warn("configuration was rejected; what there was before stays in force", "type", m.GetTypeUrl(), "error", text)
	}
	c.answered(r, m, len(refused), text)
	if err := s.send(answer); err != nil {
		return err
	}
	return s.subscriptions() // what the handler asked for meanwhile
}

// apply brings a response to the handler and gives an error for each resource that does not hold.
func (c *Client) apply(r *resources, m *discoveryv3.DeltaDiscoveryResponse) (refused []error) {
	for _, res := range m.GetResources() {
		if err := c.update(r, res); err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", res.GetName(), err))
		}
	}
	for _, name := range m.GetRemovedResources() {
		c.mu.Lock()
		wanted := r.wants(name)
		if r.held[name] != nil {
			delete(r.held, name)
			c.dirty(r.url)
		}
		c.mu.Unlock()
		if wanted {
			c.handler.Remove(r.url, name)
		}
	}
	c.handler.Applied(r.url)
	return refused
}

func (c *Client) update(r *resources, res *discoveryv3.Resource) error {
	name := res.GetName()
	c.mu.Lock()
	wanted, has := r.wants(name), r.held[name]
	c.mu.Unlock()
	switch {
	case !wanted, has.is(res.GetVersion(), res.GetResource()):
		return nil
	case res.GetResource().GetTypeUrl() != r.url:
		return fmt.Errorf("it is a %q", res.GetResource().GetTypeUrl())
	}
	if err := c.handler.Update(r.url, name, res.GetResource()); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.wants(name) {
		r.held[name] = &held{version: res.GetVersion(), resource: res.GetResource(), since: time.Now()}
		c.dirty(r.url)
	}
	return nil
}

// rejection makes one text of what was refused, not longer than a server is willing to read.
func rejection(refused []error) string {
	var b strings.Builder
	for i, err := range refused {
		text := err.Error()
		if b.Len()+len(text) > maxRejectionBytes && i > 0 {
			fmt.Fprintf(&b, "; and %d more", len(refused)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(text[:min(len(text), maxRejectionBytes)])
	}
	return strings.ToValidUTF8(b.String(), "?")
}
