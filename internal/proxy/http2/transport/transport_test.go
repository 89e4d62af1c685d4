package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/internal/proxy/http2"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// exchange sends a body in pieces and checks that it comes back.
func exchange(c *Client, path string, body []byte, rnd *rand.Rand) error {
	req := get(path)
	x, err := c.Start(req, message.Unknown)
	if err != nil {
		return err
	}
	defer x.Close(message.Done)
	pieces := make([]int, 1+rnd.IntN(10))
	for i := range pieces {
		pieces[i] = rnd.IntN(len(body) + 1)
	}
	wrote := make(chan error, 1)
	go func() {
		rest := body
		for _, n := range pieces {
			n = min(n, len(rest))
			if _, err := x.Write(rest[:n]); err != nil {
				wrote <- err
				return
			}
			rest = rest[n:]
		}
		_, err := x.Write(rest)
		wrote <- errors.Join(err, x.Finish(nil))
	}()
	var resp message.Response
	err = x.ReadHead(&resp)
	var got []byte
	if err == nil {
		buf := make([]byte, 1+rnd.IntN(10000))
		for err == nil {
			var n int
			n, err = x.Read(buf)
			got = append(got, buf[:n]...)
		}
	}
	if err == io.EOF {
		err = nil
	} else {
		x.SetWriteDeadline(time.Unix(1, 0))
	}
	if werr := <-wrote; err == nil {
		err = werr
	}
	if err == nil && !bytes.Equal(got, body) {
		err = fmt.Errorf("%d bytes came back, or others: %d were sent", len(got), len(body))
	}
	if v, _ := resp.Fields.Get("x-path"); err == nil && v != path {
		err = fmt.Errorf("the response of %s at %s", v, path)
	}
	return err
}

// All bytes arrive, in order, whatever the order of reads and writes, on a thousand streams at once.
func TestThousandStreams(t *testing.T) {
	addr := serve(t, echo, Options{MaxConcurrentStreams: 1000})
	c := dial(t, addr, Options{})
	for !c.CanStart() || c.MaxStreams() != 1000 {
		if x, err := c.Start(get("/"), message.NoBody); err == nil { // until its settings are here
			x.ReadHead(&message.Response{})
			x.Close(message.Done)
		}
	}
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			body := make([]byte, rnd.IntN(100_000))
			for j := range body {
				body[j] = byte(rnd.Uint32())
			}
			if err := exchange(c, fmt.Sprint("/", i), body, rnd); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if c.Active() != 0 {
		t.Errorf("%d are active", c.Active())
	}
}

// Streams that are reset at any time cost nobody else anything, and no window is lost.
func TestResets(t *testing.T) {
	var gone atomic.Int64
	addr := serve(t, func(s message.ServerStream) {
		if s.Request().Path == "/abort" {
			var r message.Response
			r.Status = 200
			s.WriteHead(&r, message.Unknown)
			s.Write(make([]byte, 1000))
			s.Abort(message.Refused)
			return
		}
		done := s.Gone()
		echo(s)
		select {
		case <-done:
			gone.Add(1)
		default:
		}
	}, Options{MaxConcurrentStreams: 10000, StreamWindowBytes: 1, ConnectionWindowBytes: 1})
	c := dial(t, addr, Options{StreamWindowBytes: 1, ConnectionWindowBytes: 1})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(2, uint64(i)))
			body := make([]byte, 50_000)
			for j := range 20 {
				switch {
				case j%5 == 0: // some are not reset
					if err := exchange(c, "/whole", body, rnd); err != nil {
						t.Errorf("%d: %v", i, err)
						return
					}
				case j%5 == 1:
					x, err := c.Start(get("/abort"), message.Unknown)
					if err != nil {
						t.Error(err)
						return
					}
					var e *message.Error
					if _, err := io.ReadAll(x); !errors.As(err, &e) || !e.Unprocessed || e.Reason != message.Refused {
						t.Errorf("a stream that was refused: %v", err)
					}
					x.Close(message.Done)
				default:
					x, err := c.Start(get("/"), message.Unknown)
					if err != nil {
						t.Error(err)
						return
					}
					x.Write(body[:rnd.IntN(3000)]) // what all of them leave unread fits into the connection's window
					if rnd.IntN(2) == 0 {
						x.ReadHead(&message.Response{})
						x.Read(make([]byte, rnd.IntN(10000)))
					}
					x.Close(message.Cancelled)
				}
			}
		})
	}
	wg.Wait()
	if err := exchange(c, "/after", make([]byte, 500_000), rand.New(rand.NewPCG(3, 3))); err != nil {
		t.Error(err)
	}
	t.Logf("%d exchanges were told that the client is gone", gone.Load())
}

// A response that nobody reads blocks its writer and nobody else, until the stall is too long.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrote := make(chan error, 1)
		c, finish := pipe(t, func(s message.ServerStream) {
			if s.Request().Path != "/stall" {
				echo(s)
				return
			}
			var r message.Response
			r.Status = 200
			s.WriteHead(&r, message.Unknown)
			var sent int
			for {
				n, err := s.Write(make([]byte, 1000))
				if sent += n; err != nil {
					if sent != 1<<16-1 {
						t.Errorf("%d bytes were sent into a window of 65535", sent)
					}
					wrote <- err
					return
				}
			}
		}, Options{StallTimeout: time.Minute}, Options{StreamWindowBytes: 1})
		defer finish()
		x, err := c.Start(get("/stall"), message.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close(message.Done)
		synctest.Wait()
		start := time.Now()
		if err := exchange(c, "/", make([]byte, 100_000), rand.New(rand.NewPCG(1, 1))); err != nil {
			t.Error(err)
		}
		<-wrote
		if d := time.Since(start); d > time.Minute {
			t.Errorf("stalled for %v", d)
		}
	})
}

// pipe is a client and a server with a net.Pipe between, in a bubble.
func pipe(t *testing.T, h handlerFunc, so, co Options) (*Client, func()) {
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(t.Context(), b, h, so) }()
	c := NewClient(a, co)
	return c, func() {
		c.Close()
		<-done
	}
}

// A connection without streams is closed after IdleTimeout, not before, and by both sides in order.
func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, finish := pipe(t, echo, Options{IdleTimeout: time.Minute}, Options{})
		defer finish()
		for range 5 {
			time.Sleep(50 * time.Second)
			if err := exchange(c, "/", []byte("x"), rand.New(rand.NewPCG(1, 1))); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		<-c.Closed()
		if d := time.Since(start); d < time.Minute || d > time.Minute+time.Second {
			t.Errorf("closed after %v", d)
		}
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
}

// With MaxAge the client is asked to go; what it has begun goes on to its end.
func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, finish := pipe(t, echo, Options{MaxAge: time.Minute}, Options{})
		defer finish()
		x, err := c.Start(get("/"), message.Unknown)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		<-c.Draining()
		if _, err := c.Start(get("/"), message.NoBody); err == nil {
			t.Error("a stream was started after GOAWAY")
		}
		x.Write([]byte("hello"))
		x.Finish(nil)
		if got, err := io.ReadAll(x); string(got) != "hello" || err != nil {
			t.Errorf("%q %v", got, err)
		}
		x.Close(message.Done)
		<-c.Closed()
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
}

// A peer that does not answer pings is dead.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		go io.Copy(io.Discard, b)
		c := NewClient(a, Options{PingInterval: 10 * time.Second, PingTimeout: 5 * time.Second, SettingsTimeout: -1})
		defer b.Close()
		x, err := c.Start(get("/"), message.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := x.ReadHead(&message.Response{}); err == nil {
			t.Error("a response of nobody")
		}
		if d := time.Since(start); d != 15*time.Second {
			t.Errorf("noticed after %v", d)
		}
		x.Close(message.Done)
		<-c.Closed()
	})
}

// A server that says nothing is given up.
func TestSettingsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		go io.Copy(io.Discard, b)
		defer b.Close()
		c := NewClient(a, Options{})
		<-c.Closed()
		var e *http2.ConnError
		if !errors.As(c.Err(), &e) || e.Code != http2.SettingsTimeout {
			t.Error(c.Err())
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, finish := pipe(t, func(s message.ServerStream) { <-s.Gone() }, Options{}, Options{})
		defer finish()
		x, err := c.Start(get("/"), message.Unknown)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		x.SetReadDeadline(start.Add(time.Second))
		var timeout net.Error
		if err := x.ReadHead(&message.Response{}); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Error(err)
		}
		x.SetWriteDeadline(start.Add(2 * time.Second))
		if _, err := x.Write(make([]byte, 1<<20)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Error(err)
		}
		go func() {
			time.Sleep(time.Second)
			x.SetReadDeadline(time.Now())
		}()
		x.SetReadDeadline(time.Time{})
		if _, err := x.Read(make([]byte, 1)); !errors.As(err, &timeout) {
			t.Error(err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("after %v", d)
		}
		x.Close(message.Cancelled)
	})
}

// A client that sends nothing before it has the head gets it, although the body is as long as was said and has not begun.
func TestHeadBeforeBody(t *testing.T) {
	addr := serve(t, func(s message.ServerStream) {
		if s.WriteHead(&message.Response{Status: 200}, 5) == nil {
			buf := make([]byte, 5)
			if _, err := io.ReadFull(s, buf); err == nil {
				s.Write(buf)
				s.Finish(nil)
			}
		}
	}, Options{})
	x, err := dial(t, addr, Options{}).Start(get("/"), 5)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close(message.Done)
	x.SetReadDeadline(time.Now().Add(10 * time.Second))
	if err := x.ReadHead(&message.Response{}); err != nil || x.ResponseLength() != 5 {
		t.Fatal(err, x.ResponseLength())
	}
	x.Write([]byte("hello"))
	x.Finish(nil)
	if got, err := io.ReadAll(x); string(got) != "hello" || err != nil {
		t.Errorf("%q %v", got, err)
	}
}

// GOAWAY: what the server has not seen may go elsewhere, the rest ends here.
func TestGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := NewClient(a, Options{})
		server := http2.NewConn(http2.Config{Server: true, MaxConcurrentStreams: 10, MaxHeaderListBytes: 1000, New: func() *http2.Stream { return &http2.Stream{} }})
		b.Write(server.Swap(nil))
		go func() {
			in := make([]byte, 0, 10000)
			for {
				n, err := b.Read(in[len(in):cap(in)])
				if err != nil {
					return
				}
				in = in[:len(in)+n]
				for {
					n, ev, _ := server.Receive(0, in)
					if n == 0 {
						break
					}
					in = append(in[:0], in[n:]...)
					if ev.Kind == http2.EventHead && ev.Stream.ID() == 1 {
						server.GoAway(http2.NoError, true, "")
					}
					if ev.Kind == http2.EventHead && ev.Stream.Request.Path == "/2" {
						t.Error("after GOAWAY")
					}
				}
				b.Write(server.Swap(nil))
			}
		}()
		first, _ := c.Start(get("/1"), message.NoBody)
		second, _ := c.Start(get("/2"), message.NoBody)
		var e *message.Error
		if err := second.ReadHead(&message.Response{}); !errors.As(err, &e) || !e.Unprocessed {
			t.Error(err)
		}
		second.Close(message.Done)
		b.Close()
		if err := first.ReadHead(&message.Response{}); !errors.As(err, &e) || e.Unprocessed {
			t.Error(err)
		}
		first.Close(message.Done)
		<-c.Closed()
	})
}

// A panic of a handler ends its connection and is told to whom serves it.
func TestPanic(t *testing.T) {
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- Serve(context.Background(), b, handlerFunc(func(message.ServerStream) { panic("oh") }), Options{})
	}()
	c := NewClient(a, Options{})
	x, err := c.Start(get("/"), message.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.ReadHead(&message.Response{}); err == nil {
		t.Error("a response")
	}
	x.Close(message.Done)
	if err := <-done; err == nil {
		t.Error("no error")
	}
	<-c.Closed()
}
