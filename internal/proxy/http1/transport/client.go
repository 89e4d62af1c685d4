package transport

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/weftmesh/weft/internal/proxy/http1"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Client is one connection that we opened. It carries one exchange at a time; but for Close, only one goroutine may use it at a time.
type Client struct {
	wire      wire
	maxHead   int
	maxFields int
	busy      bool
	used      bool // it has carried an exchange
	broken    bool
	closed    atomic.Bool
}

// NewClient takes a connection to a server that speaks HTTP/1.x and owns it from now on. While no exchange is under way it holds no buffer and
// no goroutine. Of the options those for heads count.
func NewClient(nc net.Conn, o Options) *Client {
	o = o.withDefaults()
	c := &Client{maxHead: o.MaxHeadBytes, maxFields: o.MaxFields}
	c.wire.init(nc)
	return c
}

var errBusy = errors.New("http1: the connection is not free for another exchange")

// Start begins an exchange. The head is written with the first of the body, in one go, and at the latest by Flush or Finish; with message.NoBody
// it is by ReadHead, which also finds out, without a system call more than it needs anyway, whether the server closed the connection meanwhile.
//
// The stream's errors are a [message.Error] with Unprocessed set where it is certain that the server did not see the request: it had closed the
// connection, or it ended the connection in good order and its kernel had acknowledged nothing of the request.
func (c *Client) Start(req *message.Request, length int64) (message.ClientStream, error) {
	if !c.Reusable() {
		return nil, &message.Error{Reason: message.Refused, Unprocessed: true, Text: errBusy.Error()}
	}
	// A request that ReadHead sends is sent with such a look in any case.
	if c.used && !(c.wire.plain && length == message.NoBody) && c.wire.spoke() {
		c.broken = true
		return nil, &message.Error{Reason: message.Refused, Unprocessed: true, Text: errStale.Error()}
	}
	x := takeClientStream(c)
	b, f, err := http1.AppendRequest(x.out.room(), req, length)
	if err != nil {
		x.release()
		return nil, &message.Error{Reason: message.Internal, Text: err.Error()}
	}
	c.busy, c.used = true, true
	// Only what frames the response is kept, so that the request's strings may go.
	x.asked = http1.Asked{Method: "GET", Version: message.HTTP11}
	switch {
	case req.Protocol != "":
		x.asked.Protocol = "any"
	case req.Method == "HEAD":
		x.asked.Method = "HEAD"
	case req.Method == "CONNECT":
		x.asked.Method = "CONNECT"
	}
	if err := x.out.appended(b); err != nil {
		return x, nil //nolint:nilerr // the stream tells it: there may be a response all the same
	}
	x.out.begin(&f)
	x.lazy = x.out.done && x.out.n > 0
	return x, nil
}

// Reusable tells, after a stream was closed, whether another exchange may be started.
func (c *Client) Reusable() bool { return !c.busy && !c.broken && !c.closed.Load() }

// Alive looks whether the server has closed the connection, or sent what nobody asked for, while it was idle. It costs one system call and does
// not wait. It need not be asked before Start.
func (c *Client) Alive() bool { return c.Reusable() && !c.wire.spoke() }

// Close closes the connection, whatever runs on it. It may be called from any goroutine, and more than once.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	return c.wire.conn.Close()
}
