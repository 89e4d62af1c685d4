package hostile

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// backend is an endpoint that speaks HTTP/1.1 on its sockets, notes what it got byte by byte, and answers as it is told.
type backend struct {
	t      *testing.T
	ln     net.Listener
	answer func(c net.Conn, r *received) (goOn bool)

	mu       sync.Mutex
	all      []*received
	partial  []*received // whose end never came
	stray    []string    // bytes that were no request
	accepted int
	conns    sync.WaitGroup
}

// received is a request as the backend got it.
type received struct {
	*http.Request
	head string // byte by byte
	body string
	conn int // which of its connections
}

// String is the request in short.
func (r *received) String() string {
	s := r.Method + " " + r.RequestURI
	if r.body != "" {
		s += " " + r.body
	}
	for name, v := range r.Trailer {
		s += " " + strings.ToLower(name) + "=" + strings.Join(v, "|")
	}
	return s
}

// fine answers 200.
func fine(c net.Conn, _ *received) bool {
	_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
	return err == nil
}

// listen runs a backend until the test ends. wrap may put TLS around its connections; nil does not.
func listen(t *testing.T, answer func(net.Conn, *received) bool, wrap func(net.Conn) net.Conn) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{t: t, ln: ln, answer: answer}
	b.conns.Go(func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.accepted = n
			b.mu.Unlock()
			if wrap != nil {
				c = wrap(c)
			}
			b.conns.Go(func() {
				defer func() { _ = c.Close() }()
				b.serve(c, n)
			})
		}
	})
	t.Cleanup(b.wait)
	return b
}

func (b *backend) addr() string { return b.ln.Addr().String() }

// wait waits until the proxy has closed its connections. The proxy must have ended.
func (b *backend) wait() {
	_ = b.ln.Close()
	b.conns.Wait()
}

// tee keeps what was read.
type tee struct {
	r io.Reader
	b bytes.Buffer
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.b.Write(p[:n])
	return n, err
}

func (b *backend) serve(c net.Conn, n int) {
	raw := &tee{r: c}
	in := bufio.NewReader(raw)
	for {
		from := raw.b.Len() - in.Buffered()
		req, err := http.ReadRequest(in)
		at := raw.b.Len() - in.Buffered()
		if err != nil {
			if rest := raw.b.String()[from:]; rest != "" {
				b.mu.Lock()
				b.stray = append(b.stray, rest)
				b.mu.Unlock()
			}
			return
		}
		r := &received{Request: req, head: raw.b.String()[from:at], conn: n}
		if err := unambiguous(r.head); err != nil {
			b.t.Errorf("the proxy wrote a head that two could read differently: %v: %q", err, r.head)
		}
		body, err := io.ReadAll(req.Body)
		r.body = string(body)
		b.mu.Lock()
		if err != nil {
			b.partial = append(b.partial, r)
		} else {
			b.all = append(b.all, r)
		}
		b.mu.Unlock()
		if err != nil || !b.answer(c, r) {
			return
		}
	}
}

// requests is what was received so far, whole and in part.
func (b *backend) requests() (all, partial []*received) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*received(nil), b.all...), append([]*received(nil), b.partial...)
}

var (
	requestLine = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\x00-\x20\x7f]+ HTTP/1\\.1$")
	fieldLine   = regexp.MustCompile("^([!#$%&'*+.^_`|~0-9a-z-]+): ((?:[^\x00-\x08\x0a-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?)$")
)

// unambiguous tells whether everybody, however lenient, reads a head the same: one form of each line, no field twice that frames or routes.
func unambiguous(head string) error {
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	if !requestLine.MatchString(lines[0]) {
		return fmt.Errorf("request line %q", lines[0])
	}
	seen := map[string]int{}
	for _, l := range lines[1:] {
		m := fieldLine.FindStringSubmatch(l)
		if m == nil {
			return fmt.Errorf("field %q", l)
		}
		seen[m[1]]++
		if m[1] == "transfer-encoding" && m[2] != "chunked" {
			return fmt.Errorf("field %q", l)
		}
	}
	if seen["host"] != 1 || seen["content-length"]+seen["transfer-encoding"] > 1 {
		return fmt.Errorf("fields %v", seen)
	}
	for _, name := range []string{"expect", "upgrade", "connection", "te"} {
		if seen[name] > 1 {
			return fmt.Errorf("%s %d times", name, seen[name])
		}
	}
	return nil
}
