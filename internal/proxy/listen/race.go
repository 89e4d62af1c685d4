package listen

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/proxy/detect"
)

const (
	// doubt is how long a client has to go on with what may be HTTP or TLS and is not yet sure to be; then it is bytes.
	doubt = 5 * time.Second
	// hush is how long a client has to begin with TLS after the server has spoken, where it may: a client of the mesh sends its ClientHello with the end of
	// TCP's handshake, and takes the server's words for a broken one if they come before the answer to it.
	hush = 100 * time.Millisecond
	// lastWord is how long a client has to begin when there is no server to speak first.
	lastWord = time.Second
)

// Race finds out what a connection carries while its server may be the one that speaks first: it opens the connection to the server at once, and waits for
// whoever speaks. bytes tells whether an answer means that the connection is for who was opened; if so the opening is given, with what the server has said
// already. Who does not speak, on either side, is waited for as long as the connection stays; when the server has spoken the client is waited for no longer
// than grace. What was read of the client is in c.Prefix.
func Race(ctx context.Context, c *Conn, q detect.Question, grace time.Duration, open func(context.Context) Opening, bytes func(*detect.Answer) bool) (detect.Answer, Opening, []byte, error) {
	dialing, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &race{client: c.Net, grace: grace}
	var wg sync.WaitGroup
	wg.Go(func() { r.serverSide(dialing, open) })
	answer, err := detect.Read(r, q)
	c.Prefix = answer.Read
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) { // the server was first, or nothing came that tells
		err, answer.TLS, answer.Protocol = nil, false, ""
	}
	mine := err == nil && bytes(&answer)
	if !mine {
		cancel()
	}
	r.stop()
	wg.Wait()
	if r.panicked != nil {
		panic(r.panicked) // where it costs this connection only
	}
	_ = c.Net.SetReadDeadline(time.Time{})
	if mine {
		return answer, r.opening, r.said, nil
	}
	r.opening.Drop()
	return answer, nil, nil, err
}

// race is a connection whose two ends are listened to at a time. To its reader it is the client's.
type race struct {
	client net.Conn
	grace  time.Duration
	// What serverSide came to, once it has ended.
	opening  Opening
	said     []byte
	panicked any

	net.Conn // none: only Read is called
	mu       sync.Mutex
	begun    bool     // the client has spoken
	over     bool     // it is not listened to any more
	server   net.Conn // while it is listened to
	stopped  bool     // it is not
}

// saidBytes is how much of what the server says first is read.
const saidBytes = 4 << 10

var past = time.Unix(1, 0)

// serverSide opens the connection to the server and waits for its first bytes.
func (r *race) serverSide(ctx context.Context, open func(context.Context) Opening) {
	defer func() {
		if r.panicked = recover(); r.panicked != nil {
			_ = r.client.Close()
		}
	}()
	r.opening = open(ctx)
	server := r.opening.Conn()
	if server == nil {
		r.limit(time.Now().Add(lastWord))
		return
	}
	r.mu.Lock()
	stopped := r.stopped
	r.server = server
	r.mu.Unlock()
	if stopped {
		return
	}
	buf := make([]byte, saidBytes)
	n, err := server.Read(buf)
	_ = server.SetReadDeadline(time.Time{})
	r.said = buf[:n]
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) { // it has spoken, or ended
		if r.grace > 0 {
			r.limit(time.Now().Add(r.grace))
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.over = true
		_ = r.client.SetReadDeadline(past)
	}
}

// limit ends the wait for a client that says nothing.
func (r *race) limit(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over && !r.begun {
		_ = r.client.SetReadDeadline(t)
	}
}

// stop has the server listened to no longer.
func (r *race) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	if r.server != nil {
		_ = r.server.SetReadDeadline(past)
	}
}

// Read reads from the client.
func (r *race) Read(b []byte) (int, error) {
	n, err := r.client.Read(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > 0 && !r.begun {
		if r.begun = true; !r.over {
			_ = r.client.SetReadDeadline(time.Now().Add(doubt))
		}
	}
	return n, err
}
