package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/proxy/http1"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/socket"
)

const patience = 10 * time.Second

// pair is the two ends of a connection.
func pair(t testing.TB, network string) (client, server net.Conn) {
	t.Helper()
	if network == "pipe" {
		client, server = net.Pipe()
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if server, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	_ = client.SetDeadline(time.Now().Add(patience))
	return client, server
}

type handlerFunc func(message.ServerStream)

func (f handlerFunc) ServeExchange(s message.ServerStream) { f(s) }

// served is a server on one end; done gives what Serve gave.
type served struct {
	*Server
	done chan error
}

func serve(t testing.TB, conn net.Conn, o Options, h handlerFunc) *served {
	s := &served{NewServer(conn, h, o), make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { s.done <- s.Serve(ctx) }()
	t.Cleanup(cancel)
	return s
}

func (s *served) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(patience):
		t.Fatal("the server goes on")
		return nil
	}
}

// echo answers with what it was asked.
func echo(s message.ServerStream) {
	body, err := io.ReadAll(readerOf(s))
	r := s.Request()
	text := fmt.Sprintf("%s %s %s%s %q", r.Method, r.Scheme, r.Authority, r.Path, body)
	for _, f := range s.RequestTrailers().All() {
		text += " " + f.Name + "=" + f.Value
	}
	if err != nil {
		text += " " + err.Error()
	}
	resp := message.Response{Status: 200}
	resp.Fields.Add("x", "y")
	if r.Path == "/chunked" {
		_ = s.WriteHead(&resp, message.Unknown)
		_, _ = s.Write([]byte(text))
		_ = s.Flush()
		var trailers message.Fields
		trailers.Add("t", "u")
		_ = s.Finish(&trailers)
		return
	}
	_ = s.WriteHead(&resp, int64(len(text)))
	_, _ = s.Write([]byte(text))
	_ = s.Finish(nil)
}

func readerOf(r interface{ Read([]byte) (int, error) }) io.Reader { return r.(io.Reader) }

// networks are the kinds of connection: a plain socket, and one that knows nothing but net.Conn.
func networks(t *testing.T, f func(t *testing.T, network string)) {
	for _, n := range []string{"tcp", "pipe"} {
		t.Run(n, func(t *testing.T) { f(t, n) })
	}
}

// talk sends and gives what came back until the server closed.
func talk(t *testing.T, conn net.Conn, in string) string {
	t.Helper()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		_, _ = io.WriteString(conn, in)
	}()
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("after %q: %v", out, err)
	}
	<-wrote
	return string(out)
}

func TestServe(t *testing.T) {
	big := strings.Repeat("b", 100<<10)
	for _, tt := range []struct {
		name, in, out string
		err           *http1.Error
	}{
		{"keep-alive and pipelining", "GET /1 HTTP/1.1\r\nhost: h\r\n\r\nPOST /2 HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
			"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 16\r\n\r\nGET http h/1 \"\"" + "|HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 20\r\n\r\nPOST http h/2 \"abc\"" +
				"|HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 16\r\nconnection: close\r\n\r\nGET http h/3 \"\"", nil},
		{"chunked", "POST /chunked HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\na: b\r\n\r\n",
			"HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n1f\r\nPOST http h/chunked \"abcde\" a=b\r\n0\r\nt: u\r\n\r\n", nil},
		{"HTTP/1.0", "GET /chunked HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nx: y\r\nconnection: close\r\n\r\nGET http /chunked \"\"", nil},
		{"malformed", "GET / HTTP/1.1\r\nhost : h\r\n\r\n", "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", http1.ErrFieldName},
		{"malformed with more behind", "GET / HTTP/1.1\r\nhost : h\r\n\r\n" + big[:30000], "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", http1.ErrFieldName},
		{"a head of 50 KB", "GET /x HTTP/1.1\r\nhost: h\r\nx: " + big[:50000] + "\r\nconnection: close\r\n\r\n",
			"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 16\r\nconnection: close\r\n\r\nGET http h/x \"\"", nil},
		{"too long a head", "GET / HTTP/1.1\r\nhost: h\r\nx: " + big, "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", http1.ErrHeadLength},
		{"too long a line", "GET /" + big, "HTTP/1.1 414 URI Too Long\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", http1.ErrRequestLineLength},
		{"broken chunk", "POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcX",
			"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 50\r\n\r\nPOST http h/x \"abc\" http1: chunk_end (400)", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			networks(t, func(t *testing.T, network string) {
				client, server := pair(t, network)
				s := serve(t, server, Options{LingerTimeout: 300 * time.Millisecond}, echo)
				want := strings.ReplaceAll(tt.out, "|", "")
				want = fixLengths(want)
				if d := cmp.Diff(want, talk(t, client, tt.in)); d != "" {
					t.Error(d)
				}
				err := s.wait(t)
				if tt.err == nil && err != nil || tt.err != nil && !errors.Is(err, tt.err) {
					t.Errorf("Serve: %v, want %v", err, tt.err)
				}
			})
		})
	}
}

// fixLengths makes the lengths in an expected text those of the bodies, so that the cases need not count.
func fixLengths(s string) string {
	parts := strings.Split(s, "HTTP/1.1 ")
	for i, p := range parts {
		head, body, _ := strings.Cut(p, "\r\n\r\n")
		if at := strings.Index(head, "content-length: "); at >= 0 {
			end := strings.Index(head[at:], "\r\n")
			if end < 0 {
				end = len(head) - at
			}
			head = head[:at] + fmt.Sprint("content-length: ", len(body)) + head[at+end:]
			parts[i] = head + "\r\n\r\n" + body
		}
	}
	return strings.Join(parts, "HTTP/1.1 ")
}

// The bytes come one by one, and it is all the same.
func TestServeSlowly(t *testing.T) {
	networks(t, func(t *testing.T, network string) {
		client, server := pair(t, network)
		s := serve(t, server, Options{LingerTimeout: 300 * time.Millisecond}, echo)
		in := "POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\na: b\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
		go func() {
			for i := range in {
				_, _ = io.WriteString(client, in[i:i+1])
			}
		}()
		out, err := io.ReadAll(client)
		if err != nil {
			t.Fatal(err)
		}
		want := fixLengths("HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\n\r\nPOST http h/x \"abcde\" a=bHTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\nconnection: close\r\n\r\nGET http h/2 \"\"")
		if d := cmp.Diff(want, string(out)); d != "" {
			t.Error(d)
		}
		if err := s.wait(t); err != nil {
			t.Error(err)
		}
	})
}

func TestExpectContinue(t *testing.T) {
	client, server := pair(t, "tcp")
	s := serve(t, server, Options{LingerTimeout: 50 * time.Millisecond}, func(x message.ServerStream) {
		if x.Request().Path == "/refuse" {
			_ = x.WriteHead(&message.Response{Status: 403}, message.NoBody)
			return
		}
		echo(x)
	})
	r := bufio.NewReader(client)
	_, _ = io.WriteString(client, "POST /x HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
	if line, _ := r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q", line)
	}
	_, _ = io.WriteString(client, "abcPOST /refuse HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
	rest, err := io.ReadAll(r)
	want := fixLengths("\r\nHTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\n\r\nPOST http h/x \"abc\"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
	if d := cmp.Diff(want, string(rest)); d != "" || err != nil {
		t.Error(err, d)
	}
	if err := s.wait(t); err != nil {
		t.Error(err)
	}
}

func TestUnreadBody(t *testing.T) {
	answer := func(x message.ServerStream) { _ = x.WriteHead(&message.Response{Status: 204}, message.NoBody) }
	client, server := pair(t, "tcp")
	s := serve(t, server, Options{DrainBytes: 1000, LingerTimeout: 50 * time.Millisecond}, answer)
	r := bufio.NewReader(client)
	status := func() string {
		line, _ := r.ReadString('\n')
		_, _ = r.ReadString('\n')
		return strings.TrimSpace(line)
	}
	_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 900\r\n\r\n"+strings.Repeat("x", 900))
	if got := status(); got != "HTTP/1.1 204 No Content" {
		t.Errorf("got %q", got)
	}
	_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9000000\r\n\r\n"+strings.Repeat("x", 30000))
	if got := status(); got != "HTTP/1.1 204 No Content" {
		t.Errorf("a little of the body is read, but not all: got %q", got)
	}
	if _, err := io.ReadAll(r); err != nil {
		t.Errorf("the connection is closed in order: %v", err)
	}
	client.Close()
	if err := s.wait(t); err != nil {
		t.Error(err)
	}
}

func TestTimeouts(t *testing.T) {
	for _, tt := range []struct {
		name, in, out string
		o             Options
	}{
		{"idle", "", "", Options{IdleTimeout: time.Millisecond}},
		{"idle after a request", "GET / HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\n\r\nGET http h/ \"\"", Options{IdleTimeout: 2 * time.Second}},
		{"head", "GET / HTTP/1.1\r\n", "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", Options{HeadTimeout: time.Millisecond, LingerTimeout: 10 * time.Millisecond}},
		{"requests", "GET / HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\nconnection: close\r\n\r\nGET http h/ \"\"", Options{MaxRequests: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			networks(t, func(t *testing.T, network string) {
				client, server := pair(t, network)
				s := serve(t, server, tt.o, echo)
				if d := cmp.Diff(fixLengths(tt.out), talk(t, client, tt.in)); d != "" {
					t.Error(d)
				}
				_ = s.wait(t)
			})
		})
	}
}

func TestDrain(t *testing.T) {
	networks(t, func(t *testing.T, network string) {
		t.Run("idle", func(t *testing.T) {
			client, server := pair(t, network)
			s := serve(t, server, Options{LingerTimeout: 300 * time.Millisecond}, echo)
			s.Drain()
			if out := talk(t, client, ""); out != "" {
				t.Errorf("got %q", out)
			}
			if err := s.wait(t); err != nil {
				t.Error(err)
			}
		})
		t.Run("active", func(t *testing.T) {
			client, server := pair(t, network)
			begun := make(chan struct{})
			goOn := make(chan struct{})
			s := serve(t, server, Options{LingerTimeout: 50 * time.Millisecond}, func(x message.ServerStream) {
				close(begun)
				<-goOn
				echo(x)
			})
			go func() {
				<-begun
				if !s.Active() {
					t.Error("not active")
				}
				s.Drain()
				close(goOn)
			}()
			want := fixLengths("HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\nconnection: close\r\n\r\nGET http h/ \"\"")
			if d := cmp.Diff(want, talk(t, client, "GET / HTTP/1.1\r\nhost: h\r\n\r\n")); d != "" {
				t.Error(d)
			}
			if err := s.wait(t); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestAbort(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		head     int64
	}{
		{"length", "GET / HTTP/1.1\r\nhost: h\r\n\r\n", 100},
		{"chunked", "GET / HTTP/1.1\r\nhost: h\r\n\r\n", message.Unknown},
		{"to the end", "GET / HTTP/1.0\r\nhost: h\r\n\r\n", message.Unknown},
	} {
		for _, left := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, left), func(t *testing.T) {
				client, server := pair(t, "tcp")
				s := serve(t, server, Options{LingerTimeout: 50 * time.Millisecond}, func(x message.ServerStream) {
					_ = x.WriteHead(&message.Response{Status: 200}, tt.head)
					_, _ = x.Write([]byte("part"))
					_ = x.Flush()
					if !left {
						x.Abort(message.Internal)
					}
				})
				_, _ = io.WriteString(client, tt.in)
				c := NewClient(client, Options{})
				x, err := c.Start(&message.Request{Method: "GET", Authority: "h", Path: "/"}, 0)
				if err != nil {
					t.Fatal(err)
				}
				var r message.Response
				err = x.ReadHead(&r)
				if err == nil {
					_, err = io.ReadAll(readerOf(x))
				}
				if err == nil {
					t.Error("the client does not notice")
				}
				x.Close(message.Cancelled)
				_ = s.wait(t)
			})
		}
	}
}

// clientOf is a client whose server is written by hand: it reads a head and answers with the next of these; the connection ends with the last one.
func clientOf(t *testing.T, network string, answers ...string) (*Client, *sync.WaitGroup) {
	ours, theirs := pair(t, network)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer theirs.Close()
		r := bufio.NewReader(theirs)
		for _, a := range answers {
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == "\r\n" {
					break
				}
			}
			_, _ = io.WriteString(theirs, a)
		}
	})
	t.Cleanup(func() { ours.Close(); wg.Wait() })
	return NewClient(ours, Options{}), &wg
}

// ask does one exchange and tells it as text.
func ask(c *Client, method string, length int64, body string) string {
	req := message.Request{Method: method, Authority: "h", Path: "/", Scheme: "http"}
	x, err := c.Start(&req, length)
	if err != nil {
		return err.Error()
	}
	defer x.Close(message.Done)
	if body != "" {
		if _, err := x.Write([]byte(body)); err != nil {
			return "write: " + err.Error()
		}
	}
	if err := x.Finish(nil); err != nil {
		return "finish: " + err.Error()
	}
	text := ""
	var r message.Response
	for {
		if err := x.ReadHead(&r); err != nil {
			var e *message.Error
			return fmt.Sprint(text, "head: ", errors.As(err, &e) && e.Unprocessed, " ", err)
		}
		text += fmt.Sprint(r.Status, " ")
		if r.Status >= 200 || r.Status == 101 {
			break
		}
	}
	b, err := io.ReadAll(readerOf(x))
	text += fmt.Sprintf("%d %q", x.ResponseLength(), b)
	for _, f := range x.ResponseTrailers().All() {
		text += " " + f.Name + "=" + f.Value
	}
	if err != nil {
		text += " " + err.Error()
	}
	return text
}

func TestClient(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
	for _, tt := range []struct {
		name     string
		answer   string
		method   string
		want     string
		reusable bool
	}{
		{"length", ok, "GET", `200 2 "ok"`, true},
		{"chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\na: b\r\n\r\n", "GET", `200 -1 "ok" a=b`, true},
		{"interim", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + ok, "GET", `103 200 2 "ok"`, true},
		{"HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "HEAD", `200 2 ""`, true},
		{"close", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "GET", `200 2 "ok"`, false},
		{"more than asked", ok + "HTTP/1.1 200 OK\r\n", "GET", `200 2 "ok"`, false},
		{"204 with a body", "HTTP/1.1 204 x\r\ncontent-length: 2\r\n\r\n", "GET", `204 0 ""`, false},
		{"malformed", "HTTP/1.1 200 OK\r\nx : y\r\n\r\n", "GET", `head: false http1: field_name (400)`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			networks(t, func(t *testing.T, network string) {
				c, _ := clientOf(t, network, ok, tt.answer, ok)
				if got := ask(c, "GET", 0, ""); got != `200 2 "ok"` {
					t.Errorf("first: %s", got)
				}
				if got := ask(c, tt.method, 0, ""); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				if c.Reusable() != tt.reusable {
					t.Errorf("reusable: %v", c.Reusable())
				}
				if tt.reusable {
					if got := ask(c, "POST", 0, ""); got != `200 2 "ok"` {
						t.Errorf("last: %s", got)
					}
				}
			})
		})
	}
	t.Run("to the end", func(t *testing.T) {
		c, _ := clientOf(t, "tcp", "HTTP/1.1 200 OK\r\n\r\nok")
		if got := ask(c, "GET", 0, ""); got != `200 -1 "ok"` || c.Reusable() {
			t.Errorf("got %s", got)
		}
	})
	t.Run("cut off", func(t *testing.T) {
		c, _ := clientOf(t, "tcp", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok")
		if got := ask(c, "GET", 0, ""); got != `200 5 "ok" unexpected EOF` || c.Reusable() {
			t.Errorf("got %s", got)
		}
	})
}

// A connection that ended while it was idle is no error of the request; one that ended after the request was taken is.
func TestUnprocessed(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
	const gone = "head: true http1: the server closed the connection while it was idle"
	t.Run("seen before", func(t *testing.T) {
		c, wg := clientOf(t, "tcp", ok)
		ask(c, "GET", 0, "")
		wg.Wait()
		untilDead(t, c)
		if got := ask(c, "GET", 0, ""); got != gone {
			t.Errorf("got %s", got)
		}
		if c.Reusable() {
			t.Error("still reusable")
		}
	})
	t.Run("with a body", func(t *testing.T) {
		c, wg := clientOf(t, "tcp", ok)
		ask(c, "GET", 0, "")
		wg.Wait()
		untilDead(t, c)
		if got := ask(c, "POST", 5, "hello"); got != errStale.Error() { // nothing of it is sent
			t.Errorf("got %s", got)
		}
	})
	t.Run("after the request was read", func(t *testing.T) {
		c, _ := clientOf(t, "tcp", ok, "")
		ask(c, "GET", 0, "")
		if got := ask(c, "GET", 0, ""); got != "head: false unexpected EOF" {
			t.Errorf("got %s", got)
		}
	})
}

func untilDead(t *testing.T, c *Client) {
	t.Helper()
	for deadline := time.Now().Add(patience); c.Alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the end of the connection is not seen")
		}
	}
}

// Over TLS too a connection is not used again when the server said something that nobody asked for, or closed it.
func TestIdleTLS(t *testing.T) {
	const ok, rounds = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 3
	own := httptest.NewTLSServer(nil) // for its certificate
	defer own.Close()
	for _, below := range []struct {
		name string
		of   func(net.Conn) net.Conn
	}{{"TCP", func(c net.Conn) net.Conn { return c }}, {"socket", socket.Direct}} {
		for _, then := range []string{"says more", "closes", "is quiet"} {
			t.Run(below.name+" "+then, func(t *testing.T) {
				ours, theirs := pair(t, "tcp")
				_ = ours.SetDeadline(time.Time{})
				server := tls.Server(theirs, &tls.Config{Certificates: own.TLS.Certificates})
				served := make(chan error, 1)
				go func() {
					var b [1000]byte
					var err error
					for i := 0; i < rounds && err == nil; i++ {
						if _, err = server.Read(b[:]); err == nil {
							_, err = io.WriteString(server, ok)
						}
					}
					served <- err
				}()
				c := NewClient(tls.Client(below.of(ours), &tls.Config{InsecureSkipVerify: true}), Options{})
				defer c.Close()
				for range rounds {
					if got := ask(c, "POST", 5, "hello"); got != `200 2 "ok"` || !c.Alive() {
						t.Fatalf("got %s, alive: %v", got, c.Alive())
					}
				}
				if err := <-served; err != nil {
					t.Fatal(err)
				}
				switch then {
				case "says more":
					if _, err := io.WriteString(server, ok); err != nil {
						t.Fatal(err)
					}
				case "closes":
					_ = server.Close()
				default:
					return
				}
				untilDead(t, c)
			})
		}
	}
}
