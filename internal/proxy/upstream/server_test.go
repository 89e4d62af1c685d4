package upstream

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// server is a real one on loopback, with net/http.
type server struct {
	*http.Server
	port  int
	conns atomic.Int64 // that were accepted
}

func serve(t testing.TB, h http.HandlerFunc) *server {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{port: l.Addr().(*net.TCPAddr).Port}
	s.Server = &http.Server{Handler: h, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return s
}

func (s *server) member() member { return member{addr: "127.0.0.1", port: s.port} }

// echo reads the whole body first: net/http throws away what is unread when a response begins.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = w.Write(body)
}

// raw is a server of connections on loopback.
func raw(t testing.TB, handle func(net.Conn)) member {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[nc] = true
			mu.Unlock()
			wg.Go(func() {
				handle(nc)
				_ = nc.Close()
				mu.Lock()
				delete(open, nc)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for nc := range open {
			_ = nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return member{addr: "127.0.0.1", port: l.Addr().(*net.TCPAddr).Port}
}

// hasty answers HTTP/1 requests and closes connections at any moment after an answer: at once, or a little later.
func hasty(nc net.Conn) {
	in := bufio.NewReader(nc)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
		if rand.IntN(4) == 0 { // gone before the next request, or while it comes
			_ = nc.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(300)) * time.Microsecond))
			if _, err := in.Peek(1); err != nil {
				return
			}
			_ = nc.SetReadDeadline(time.Time{})
		}
	}
}

// fixed answers each request with the same few bytes, and makes no garbage either.
func fixed(nc net.Conn) {
	buf, answer := make([]byte, 4096), []byte("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
	for {
		if _, err := nc.Read(buf); err != nil {
			return
		}
		if _, err := nc.Write(answer); err != nil {
			return
		}
	}
}
