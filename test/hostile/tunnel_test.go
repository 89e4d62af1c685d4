package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Behind a switch of protocols that both sides made nothing is a request any more, and where the endpoint did not make it everything is.
func TestTunnels(t *testing.T) {
	tunnelled := make(chan string, 1)
	b := listen(t, func(c net.Conn, r *received) bool {
		switch r.URL.Path {
		case "/switch":
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\n")
			rest := make([]byte, len(tunnel))
			_, _ = io.ReadFull(c, rest)
			tunnelled <- string(rest)
			return false
		case "/other": // than what was asked for
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: smuggle\r\n\r\n")
			return false
		case "/426":
			_, err := io.WriteString(c, "HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n")
			return err == nil
		}
		return fine(c, r)
	}, nil)
	e := start(t, []listener{{name: "plain"}}, cluster("web", "", b.addr()))
	const ask = " HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	c := e.dial(t, "plain")
	_, _ = io.WriteString(c, "GET /switch"+ask+tunnel)
	in := bufio.NewReader(c)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	if got := <-tunnelled; got != tunnel {
		t.Errorf("through the tunnel came %q", got)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "HTTP/1.1 200 OK\r\n" {
		t.Errorf("and back came %q", rest)
	}
	if got := answers(e.dial(t, "plain"), "GET /426"+ask+"GET /last HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", false); got != "426 200" {
		t.Errorf("refused: %s", got)
	}
	// What the endpoint says that it speaks now is not what the client is told.
	c = e.dial(t, "plain")
	_, _ = io.WriteString(c, "GET /other"+ask)
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode == 101 && resp.Header.Get("upgrade") != "websocket" {
		t.Errorf("%v %v", resp, err)
	}
	e.end()
	b.wait()
	all, partial := b.requests()
	if len(all) != 4 || len(partial) > 0 {
		t.Errorf("the endpoint saw %v %v", all, partial)
	}
}

const tunnel = "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n"

// An answer that comes before the body was read leaves nothing behind: not for the next client of the endpoint's connection, and not for this one.
func TestEarlyAnswers(t *testing.T) {
	b := listen(t, fine, nil)
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	go func() { // answers every head that comes, and never reads a body as one
		for {
			c, err := raw.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				in := bufio.NewReader(c)
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if line == "\r\n" {
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
					}
				}
			}()
		}
	}()
	e := start(t, []listener{{name: "early"}, {name: "plain", routes: `{match: {prefix: /}, route: {cluster: other}}`}}, cluster("web", "", raw.Addr().String()), cluster("other", "", b.addr()))
	body := strings.Repeat("GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n", 30000)
	for _, framing := range []string{
		fmt.Sprintf("content-length: %d\r\n\r\n%s", len(body), body),
		fmt.Sprintf("transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body),
	} {
		for range 5 {
			c := e.dial(t, "early")
			go func() { _, _ = io.WriteString(c, "POST /early HTTP/1.1\r\nhost: h\r\nconnection: close\r\n"+framing) }()
			in := bufio.NewReader(c)
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v %v", resp, err)
			}
			if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "early" {
				t.Errorf("%q %v", text, err)
			}
			if rest, _ := io.ReadAll(in); len(rest) > 0 {
				t.Errorf("and then %.100q", rest)
			}
			if got := answers(e.dial(t, "early"), "GET /next HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", false); got != "200" {
				t.Errorf("the next: %s", got)
			}
		}
	}
	e.works(t, "plain", "/works")
}
