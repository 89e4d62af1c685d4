package xdsclient

import (
	"context"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// Status is how a client and its server get on.
type Status struct {
	Connected bool      // a stream is open. A server that has nothing new says nothing on it
	Since     time.Time // of the stream, or of its end
	LastError string    // why the last stream ended, or could not be opened; "" once the server answered on a later one
	Types     []TypeStatus
}

// TypeStatus is the same for one type of resource.
type TypeStatus struct {
	TypeURL string
	// Wanted is how many names are asked for; -1 is all there are. Held is how many are in force.
	Wanted, Held int
	// Version is the server's name for the state that was acknowledged last, if it gave one.
	Version                string
	LastResponse, LastAck  time.Time
	LastRejected           time.Time
	Rejected               string // the text of the last rejection, "" once a later response of the type was accepted whole
	Responses, Rejections  int
	Restored, Acknowledged bool // something came from disk; the server's first response was taken
}

// Status tells how things stand.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Types = nil
	for _, url := range inOrder {
		r := c.types[url]
		if (url == ServiceType || url == WorkloadType) && !c.config.Server.Index {
			continue
		}
		t := r.status
		t.TypeURL, t.Wanted, t.Held = url, len(r.wanted), len(r.held)
		if r.wildcard {
			t.Wanted = -1
		}
		s.Types = append(s.Types, t)
	}
	return s
}

// grace is how long a server counts as reachable after a stream has ended, and when a process begins.
const grace = 5 * time.Second

// Reachable tells whether the server is likely to answer soon: a stream is open, or there was one a moment ago, or there has been no time for one yet.
func (c *Client) Reachable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status.Connected || time.Since(c.lost) < grace
}

// connected begins a stream: the server knows nothing of us yet.
func (c *Client) connected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Connected, c.status.Since = true, time.Now()
	for _, r := range c.types {
		r.told, r.changed = nil, true
	}
}

// disconnected ends a stream, for a reason if it was not we who ended it.
func (c *Client) disconnected(ctx context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.Connected || c.status.Since.IsZero() {
		c.status.Since = time.Now()
	}
	if c.status.Connected {
		c.lost = c.status.Since
	}
	c.status.Connected = false
	if err != nil && ctx.Err() == nil {
		c.status.LastError = err.Error()
	}
}

// answered notes a response and what became of it.
func (c *Client) answered(r *resources, m *discoveryv3.DeltaDiscoveryResponse, refused int, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.status.LastError = "" // only now we know that the server lets us in
	s := &r.status
	s.LastResponse = now
	s.Responses++
	s.Acknowledged = true
	s.Rejected = text
	if refused > 0 {
		s.Rejections++
		s.LastRejected = now
		return
	}
	s.LastAck, s.Version = now, m.GetSystemVersionInfo()
}
