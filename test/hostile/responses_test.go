package hostile

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// What endpoints answer that is no answer, or more than one: the client hears of a failure, and the next one gets its own answer and nobody else's.
func TestHostileResponses(t *testing.T) {
	const poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
	cases := []struct {
		name   string
		method string
		raw    string
		want   string // status, "cut" if the body breaks off, and its length
	}{
		{"fine", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "200 2"},
		{"two lengths", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 60\r\n\r\nok" + poison, "502"},
		{"two lengths, the same", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", "502"},
		{"a list of lengths", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2, 60\r\n\r\nok" + poison, "502"},
		{"length with a sign", "GET", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok", "502"},
		{"length and chunked", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 60\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + poison, "502"},
		{"chunked twice", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + poison, "502"},
		{"chunked in HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + poison, "502"},
		{"coding that nobody knows", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n" + poison, "502"},
		{"fold", "GET", "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok", "502"},
		{"bare LF", "GET", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok", "502"},
		{"bare CR", "GET", "HTTP/1.1 200 OK\r\nx: a\rcontent-length: 60\r\ncontent-length: 2\r\n\r\nok", "502"},
		{"NUL", "GET", "HTTP/1.1 200 OK\r\nx: a\x00\r\ncontent-length: 2\r\n\r\nok", "502"},
		{"status line", "GET", "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok", "502"},
		{"status of two digits", "GET", "HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok", "502"},
		{"no HTTP", "GET", "SSH-2.0-OpenSSH_9.2p1\r\n\r\n", "502"},
		{"HTTP/0.9", "GET", "<html>hello</html>\r\n\r\n", "502"},
		{"too many fields", "GET", "HTTP/1.1 200 OK\r\n" + strings.Repeat("x: a\r\n", 5000) + "content-length: 2\r\n\r\nok", "502"},
		{"a field too large", "GET", "HTTP/1.1 200 OK\r\nx: " + strings.Repeat("a", 1<<20) + "\r\ncontent-length: 2\r\n\r\nok", "502"},
		{"a status line too large", "GET", "HTTP/1.1 200 " + strings.Repeat("a", 1<<20) + "\r\ncontent-length: 2\r\n\r\nok", "502"},
		{"a head without an end, and the end of the connection", "GET", "HTTP/1.1 200 OK\r\nx: a\r\n", "503"},
		{"101 that nobody asked for", "GET", "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n" + poison, "502"},
		{"a flood of 100", "GET", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 10000) + poison, "502"},
		{"a flood of 103", "GET", strings.Repeat("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", 10000) + poison, "502"},
		{"some 103", "GET", strings.Repeat("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", 3) + "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "200 2"},
		{"100 with a body", "GET", "HTTP/1.1 100 Continue\r\ncontent-length: 6\r\n\r\npoisonHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "502"},

		{"more than one answer", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + poison, "200 2"},
		{"bytes behind the body", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokok", "200 2"},
		{"bytes behind chunks", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + poison, "200 2"},
		{"a body behind 204", "GET", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n" + poison, "204 0"},
		{"a body behind 304", "GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 71\r\n\r\n" + poison, "304 0"},
		{"a body behind HEAD", "HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n" + poison, "200 0"},
		{"chunks behind HEAD", "HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n", "200 0"},
		{"a body of no length", "GET", "HTTP/1.1 200 OK\r\n\r\nok", "200 2"},
		{"less than the length", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nok", "200 cut"},
		{"chunks without an end", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", "200 cut"},
		{"a chunk of no size", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n" + poison, "200 cut"},
		{"trailers that frame", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ncontent-length: 5\r\n\r\n" + poison, "200 cut"},
		{"what claims to be compressed is bytes", "GET", "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", "200 10"},
		{"chunks and trailers", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\nx: a\r\n\r\n", "200 6"},
	}
	pair, _, _ := certificate(t)
	answer := func(c net.Conn, r *received) bool {
		if name, ok := strings.CutPrefix(r.URL.Path, "/bad/"); ok {
			var i int
			_, _ = fmt.Sscan(name, &i)
			// Records of their own, where it is TLS: head and rest may come together and still be read one after the other.
			head, rest, found := strings.Cut(cases[i].raw, "\r\n\r\n")
			if !found || cases[i].raw[0] != 'H' {
				head, rest = cases[i].raw, ""
			} else {
				head += "\r\n\r\n"
			}
			// Yet in one piece: what comes only when the next request is on its way nobody could tell from its answer.
			err := together(c, head, rest)
			// Some are only told by the end of the connection.
			return err == nil && !strings.Contains(cases[i].name, "end") && !strings.HasPrefix(cases[i].want, "200 cut") && cases[i].name != "a body of no length"
		}
		own := "own " + r.URL.Path
		_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", len(own), own)
		return err == nil
	}
	plain := listen(t, answer, nil)
	encrypted := listen(t, answer, func(c net.Conn) net.Conn {
		return tls.Server(&corked{Conn: c}, &tls.Config{Certificates: []tls.Certificate{pair}})
	})
	e := start(t, []listener{{name: "web"}, {name: "secure", routes: `{match: {prefix: "/"}, route: {cluster: secure}}`}},
		cluster("web", "", plain.addr()), cluster("secure", overTLS, encrypted.addr()))
	var n atomic.Int64
	next := func(t *testing.T, name, method string, body string) {
		t.Helper()
		path := fmt.Sprintf("/next/%d", n.Add(1))
		got := ask(t, e, name, method, path, body)
		want := fmt.Sprintf("200 %d", len("own "+path))
		if method == "HEAD" {
			want = "200 0"
		}
		if got != want {
			t.Errorf("the next request (%s) was answered with %s, want %s", method, got, want)
		}
	}
	for i, c := range cases {
		for _, name := range []string{"web", "secure"} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				got := ask(t, e, name, c.method, fmt.Sprintf("/bad/%d", i), "")
				if c.want == "200 cut" && got == io.ErrUnexpectedEOF.Error() {
					got = c.want // the head was not sent yet
				}
				if got != c.want {
					t.Errorf("answered with %s, want %s", got, c.want)
				}
				next(t, name, "POST", "body")
				next(t, name, "GET", "")
				// And the same, with the next request a GET at once.
				_ = ask(t, e, name, c.method, fmt.Sprintf("/bad/%d", i), "")
				next(t, name, "GET", "")
			})
		}
	}
}

// corked is a connection that can gather what is written.
type corked struct {
	net.Conn
	gather bool
	b      []byte
}

func (c *corked) Write(p []byte) (int, error) {
	if c.gather {
		c.b = append(c.b, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// together writes both in one piece, and as records of their own if it is TLS.
func together(c net.Conn, head, rest string) error {
	t, ok := c.(*tls.Conn)
	if !ok {
		_, err := io.WriteString(c, head+rest)
		return err
	}
	raw := t.NetConn().(*corked)
	raw.gather, raw.b = true, nil
	_, _ = io.WriteString(t, head)
	_, _ = io.WriteString(t, rest)
	raw.gather = false
	_, err := raw.Write(raw.b)
	return err
}

// ask makes a request on a connection of its own, and tells status and length of the answer.
func ask(t *testing.T, e *edge, name, method, path, body string) string {
	t.Helper()
	c := e.dial(t, name)
	defer func() { _ = c.Close() }()
	length := ""
	if body != "" {
		length = fmt.Sprintf("content-length: %d\r\n", len(body))
	}
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nhost: h\r\nconnection: close\r\n%s\r\n%s", method, path, length, body); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return err.Error()
		}
		n, err := io.Copy(io.Discard, resp.Body)
		switch {
		case resp.StatusCode < 200:
			continue
		case err != nil:
			return fmt.Sprintf("%d cut", resp.StatusCode)
		case resp.StatusCode >= 500:
			return fmt.Sprint(resp.StatusCode)
		}
		if rest, err := io.ReadAll(in); err == nil && len(rest) > 0 {
			return fmt.Sprintf("%d %d and then %q", resp.StatusCode, n, rest)
		}
		return fmt.Sprintf("%d %d", resp.StatusCode, n)
	}
}
