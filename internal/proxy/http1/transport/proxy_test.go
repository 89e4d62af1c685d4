package transport

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// proxy is the least that uses both sides: it hands each exchange on to an address, over connections that it keeps.
type proxy struct {
	to   string
	mu   sync.Mutex
	free []*Client
	fail func(error)
	resp sync.Pool
}

func newProxy(t testing.TB, to string) *proxy {
	p := &proxy{to: to, fail: func(err error) { t.Log("proxy:", err) }}
	t.Cleanup(func() {
		for _, c := range p.free {
			_ = c.Close()
		}
	})
	return p
}

func (p *proxy) take() (*Client, error) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		c := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	conn, err := net.Dial("tcp", p.to)
	if err != nil {
		return nil, err
	}
	return NewClient(conn, Options{}), nil
}

func (p *proxy) give(c *Client) {
	if c.Reusable() {
		p.mu.Lock()
		p.free = append(p.free, c)
		p.mu.Unlock()
	}
}

func (p *proxy) ServeExchange(s message.ServerStream) {
	if err := p.exchange(s); err != nil {
		p.fail(err)
		s.Abort(message.Internal)
	}
}

func (p *proxy) exchange(s message.ServerStream) error {
	c, err := p.take()
	if err != nil {
		return err
	}
	x, err := c.Start(s.Request(), s.RequestLength())
	if err != nil {
		return err
	}
	defer p.give(c)
	defer x.Close(message.Done)
	if s.RequestLength() != message.NoBody {
		if _, err, werr := Copy(x, s, 0); err != nil || werr != nil {
			return err
		}
	}
	if err := x.Finish(s.RequestTrailers()); err != nil {
		return err
	}
	r, _ := p.resp.Get().(*message.Response)
	if r == nil {
		r = new(message.Response)
	}
	defer p.resp.Put(r)
	for {
		if err := x.ReadHead(r); err != nil {
			return err
		}
		if r.Status >= 200 || r.Status == 101 {
			break
		}
		if err := s.WriteInterim(r); err != nil {
			return err
		}
	}
	if err := s.WriteHead(r, x.ResponseLength()); err != nil {
		return err
	}
	if r.Status == 101 || s.Request().Method == "CONNECT" {
		return tunnel(s, x)
	}
	_, rerr, werr := Copy(s, x, 0)
	if rerr != nil || werr != nil {
		return rerr
	}
	return s.Finish(x.ResponseTrailers())
}

func tunnel(s message.ServerStream, x message.ClientStream) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_, _, _ = Copy(x, s, 0)
		_ = x.Finish(nil)
	})
	_, _, _ = Copy(s, x, 0)
	return s.Finish(nil)
}

// listen serves connections until the test ends.
func listen(t testing.TB, h message.Handler) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _ = Serve(ctx, conn, h, Options{}) })
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	return l.Addr().String()
}

// What the standard library's client sends reaches its server through us, and back, whatever the size and the framing.
func TestProxy(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Hash")
		switch r.Header.Get("mode") {
		case "length":
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		case "flush":
			for part := range bytes.Lines(bytes.ReplaceAll(body, []byte("0"), []byte("\n"))) {
				_, _ = w.Write(part)
				w.(http.Flusher).Flush()
			}
			return
		}
		_, _ = w.Write(body)
	}))
	defer backend.Close()
	front := listen(t, newProxy(t, backend.Listener.Addr().String()))
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	for _, size := range []int{0, 1, 1000, pageBytes, 40000, 200_000, 3 << 20} {
		for _, mode := range []string{"length", "chunked", "flush"} {
			if mode == "flush" && size > 200_000 {
				continue // many small pieces of much
			}
			t.Run(mode+strconv.Itoa(size), func(t *testing.T) {
				body := make([]byte, size)
				for i := range body {
					body[i] = '0' + byte(i%61)
				}
				for _, chunked := range []bool{false, true} {
					var in io.Reader = bytes.NewReader(body)
					if chunked {
						in = io.MultiReader(in)
					}
					req, _ := http.NewRequest("POST", "http://"+front+"/x", in)
					req.Header.Set("mode", mode)
					resp, err := client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					out, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					want := body
					if mode == "flush" {
						want = bytes.ReplaceAll(body, []byte("0"), []byte("\n"))
					}
					if err != nil || sha256.Sum256(out) != sha256.Sum256(want) {
						t.Fatalf("%d bytes of %d, %v", len(out), len(want), err)
					}
				}
			})
		}
	}
}

func TestTunnel(t *testing.T) {
	backend := listen(t, handlerFunc(func(s message.ServerStream) {
		r := message.Response{Status: 200}
		if s.Request().Protocol != "" {
			r.Status = 101
		}
		_ = s.WriteHead(&r, message.Unknown)
		_, _, _ = Copy(s, s, 0)
		_ = s.Finish(nil)
	}))
	front := listen(t, newProxy(t, backend))
	for _, tt := range []struct{ name, in, out string }{
		{"upgrade", "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: WebSocket\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"},
		{"CONNECT", "CONNECT h:1 HTTP/1.1\r\nhost: h:1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", front)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			body := strings.Repeat("0123456789abcdef", 100_000)
			var wg sync.WaitGroup
			wg.Go(func() {
				_, _ = io.WriteString(conn, tt.in+"first")
				_, _ = io.WriteString(conn, body)
				_ = conn.(*net.TCPConn).CloseWrite()
			})
			out, err := io.ReadAll(conn)
			wg.Wait()
			if want := tt.out + "first" + body; string(out) != want || err != nil {
				t.Errorf("%d bytes of %d, %v: %.200q", len(out), len(want), err, out)
			}
		})
	}
}

// rawClient asks without allocating.
type rawClient struct {
	conn net.Conn
	req  []byte
	buf  []byte
	want int
}

func (c *rawClient) ask() error {
	if _, err := c.conn.Write(c.req); err != nil {
		return err
	}
	_, err := io.ReadFull(c.conn, c.buf[:c.want])
	return err
}

// hop is a client, a proxy and a backend that answers with so many bytes.
func hop(t testing.TB, size int) *rawClient {
	body := bytes.Repeat([]byte("x"), size)
	resp := message.Response{Status: 200}
	resp.Fields.Add("content-type", "text/plain")
	backend := listen(t, handlerFunc(func(s message.ServerStream) {
		_ = s.WriteHead(&resp, int64(len(body)))
		_, _ = s.Write(body)
		_ = s.Finish(nil)
	}))
	conn, err := net.Dial("tcp", listen(t, newProxy(t, backend)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &rawClient{conn: conn, buf: make([]byte, size+1000)}
	c.req = []byte("GET /x HTTP/1.1\r\nhost: example.com\r\nuser-agent: test\r\naccept: */*\r\n\r\n")
	c.want = len("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: "+strconv.Itoa(size)+"\r\n\r\n") + size
	return c
}

func TestNoAllocations(t *testing.T) {
	if underRace {
		t.Skip("under the race detector sync.Pool forgets at random; make test runs it without too")
	}
	for _, size := range []int{100, 10_000, 1 << 20} {
		c := hop(t, size)
		if err := c.ask(); err != nil {
			t.Fatal(err)
		}
		n := testing.AllocsPerRun(200, func() {
			if err := c.ask(); err != nil {
				t.Error(err)
			}
		})
		if n != 0 {
			t.Errorf("%v allocations for a request with %d bytes through two servers and a client", n, size)
		}
	}
}

func BenchmarkHop(b *testing.B) {
	for _, size := range []int{100, 10_000, 1 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			c := hop(b, size)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
