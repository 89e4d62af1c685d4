package transport

import (
	"net"

	"github.com/weftmesh/weft/internal/proxy/http2"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Client is one connection that we opened, shared by many exchanges. It is safe for concurrent use.
type Client struct {
	conn
	leaving  bool // nothing is started any more
	draining chan struct{}
	closed   chan struct{}
}

// NewClient takes a connection to a server that speaks HTTP/2 and owns it from now on. It does not wait for the server.
func NewClient(nc net.Conn, o Options) *Client {
	c := &Client{draining: make(chan struct{}), closed: make(chan struct{})}
	c.setup(nc, o.withDefaults(), http2.Config{})
	c.onHead = func(s *stream) { s.owner.(*clientStream).takeHead() }
	c.onGoAway = c.goAway
	c.onEnd = c.leave
	c.start()
	go func() {
		c.read()
		close(c.closed)
	}()
	return c
}

// Start opens a stream and sends the head of the request; with message.NoBody that is all of it. The request is the caller's again when Start
// returns. The error is a [message.Error] with Unprocessed set: another connection may be tried.
func (c *Client) Start(req *message.Request, length int64) (message.ClientStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.canStart() {
		return nil, &message.Error{Reason: message.Refused, Unprocessed: true, Text: "http2: the connection takes no more streams"}
	}
	x := c.newStream()
	c.lend()
	if err := c.h2.Start(&x.h2, req, length); err != nil {
		c.keepFree(&x.stream)
		c.kick()
		return nil, &message.Error{Reason: message.Refused, Unprocessed: true, Text: err.Error()}
	}
	x.c, x.take = &c.conn, c.takes
	x.ended = x.h2.LocalClosed()
	if x.left = length; length == message.NoBody || req.Method == "CONNECT" || req.Protocol != "" {
		x.left = -1
	}
	c.active++
	c.kick()
	return x, nil
}

func (c *Client) canStart() bool { return !c.leaving && !c.ending && c.h2.CanOpen() }

// CanStart tells whether the connection takes another stream now. Start may fail all the same.
func (c *Client) CanStart() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.canStart() && !c.h2.OutFull()
}

// Active is how many streams are open.
func (c *Client) Active() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}

// MaxStreams is how many streams the server lets us have: 100 until it has said so.
func (c *Client) MaxStreams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(c.h2.MaxStreams())
}

// ExtendedConnect tells whether the server takes requests with a Protocol (RFC 8441). It is false until the server's settings are here.
func (c *Client) ExtendedConnect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.h2.ExtendedConnect()
}

// Draining is closed when no stream can be started any more: the server sent GOAWAY, Drain was called, or the connection is closed.
func (c *Client) Draining() <-chan struct{} { return c.draining }

// Closed is closed when the connection is and nothing of it runs any more.
func (c *Client) Closed() <-chan struct{} { return c.closed }

// Err is why the connection ended, once Closed is closed; nil if that was in order.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endErr
}

// Drain closes the connection when the streams that are open are done. It returns at once.
func (c *Client) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave()
	c.lastGoAway()
}

// Close closes the connection at once, whatever runs on it, and waits until nothing does.
func (c *Client) Close() error {
	c.mu.Lock()
	c.end(nil)
	c.mu.Unlock()
	err := c.nc.Close()
	<-c.closed
	return err
}

func (c *Client) leave() {
	if !c.leaving {
		c.leaving = true
		close(c.draining)
	}
}

// goAway handles GOAWAY: streams that the server knows nothing of may be tried elsewhere.
func (c *Client) goAway(ev http2.Event) {
	c.leave()
	c.final = true
	c.h2.Streams(func(h *http2.Stream) {
		if h.ID() > ev.Last {
			c.h2.Drop(h)
			h.User.(*stream).fail(&message.Error{
				Reason: message.Refused, Unprocessed: true, Text: "http2: the server went away before it saw the request",
			}, true)
		}
	})
	c.drained()
}

// clientStream is an exchange that we opened.
type clientStream struct {
	stream
	heads []message.Response // that came; those before next were read
	next  int
}

// maxHeads is how many interim responses may wait for somebody to read them.
const maxHeads = 16

func (c *Client) newStream() *clientStream {
	if s := c.takeFree(); s != nil {
		return s.owner.(*clientStream)
	}
	x := &clientStream{}
	x.init()
	x.owner = x
	return x
}

// takeHead takes the head that came from the state machine, and leaves it memory for the next one.
func (x *clientStream) takeHead() {
	n := len(x.heads)
	if n-x.next >= maxHeads {
		x.abort(http2.EnhanceYourCalm, &message.Error{Reason: message.Protocol, Text: "http2: too many interim responses"})
		return
	}
	if n < cap(x.heads) {
		x.heads = x.heads[:n+1]
	} else {
		x.heads = append(x.heads, message.Response{})
	}
	x.heads[n], x.h2.Response = x.h2.Response, x.heads[n]
	x.reading.signal()
}

// Write sends a part of the request's body.
func (x *clientStream) Write(p []byte) (int, error) { return x.write(p) }

// ReadHead waits for the head of the response.
func (x *clientStream) ReadHead(r *message.Response) error {
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case x.next < len(x.heads):
			*r, x.heads[x.next] = x.heads[x.next], *r
			x.heads[x.next].Reset()
			if x.next++; x.next == len(x.heads) {
				x.heads, x.next = x.heads[:0], 0
			}
			return nil
		case x.err != nil:
			return x.err
		}
		if err := x.reading.wait(&c.mu, 0); err != nil {
			return err
		}
	}
}

// ResponseLength is the length of the body, once the head was read.
func (x *clientStream) ResponseLength() int64 { return x.h2.Length }

// ResponseTrailers is complete after io.EOF.
func (x *clientStream) ResponseTrailers() *message.Fields { return &x.h2.Trailers }

// Close ends the exchange.
func (x *clientStream) Close(r message.Reason) {
	c := x.c
	if r == message.Done {
		r = message.Cancelled // if anything is missing
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x.giveBack(codeOf(r))
	for i := range x.heads {
		x.heads[i].Reset()
	}
	x.heads, x.next = x.heads[:0], 0
	c.keepFree(&x.stream)
}
