package transport

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// handlerFunc serves exchanges with a function.
type handlerFunc func(message.ServerStream)

func (f handlerFunc) ServeExchange(s message.ServerStream) { f(s) }

// serve runs a handler behind a listener on loopback until the test is over, and gives the listener's address.
func serve(t testing.TB, h handlerFunc, o Options) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 1000)
	running := 0
	accepted := make(chan int, 1)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				accepted <- running
				return
			}
			running++
			go func() {
				Serve(ctx, nc, h, o)
				done <- struct{}{}
			}()
		}
	}()
	t.Cleanup(func() {
		cancel()
		l.Close()
		for range <-accepted {
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Error("a connection does not end")
				return
			}
		}
	})
	return l.Addr().String()
}

// dial makes a client of an address, closed when the test is over.
func dial(t testing.TB, addr string, o Options) *Client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(nc, o)
	t.Cleanup(func() { c.Close() })
	return c
}

// echo answers with the body and the trailers of the request.
func echo(s message.ServerStream) {
	var r message.Response
	r.Status = 200
	for _, f := range s.Request().Fields.All() {
		if f.Name == "x-test" {
			r.Fields.Add(f.Name, f.Value)
		}
	}
	r.Fields.Add("x-path", s.Request().Path)
	if s.WriteHead(&r, s.RequestLength()) != nil || s.RequestLength() == message.NoBody {
		return
	}
	buf := make([]byte, 4096)
	for {
		n, err := s.Read(buf)
		if _, werr := s.Write(buf[:n]); werr != nil {
			return
		}
		if err == io.EOF {
			s.Finish(s.RequestTrailers())
			return
		}
		if err != nil {
			s.Abort(message.Internal)
			return
		}
	}
}

func get(path string) *message.Request {
	return &message.Request{Method: "GET", Scheme: "http", Authority: "test", Path: path}
}
