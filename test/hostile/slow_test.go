package hostile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// quick is a listener that has little patience.
const quick = "request_headers_timeout: 0.4s, request_timeout: 0.8s, stream_idle_timeout: 0.5s, delayed_close_timeout: 0.001s, common_http_protocol_options: {idle_timeout: 0.5s}"

// dribble writes bytes one by one until the connection takes no more, or stop is closed.
func dribble(c net.Conn, text []byte, stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, b := range text {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// Clients that say little for long are told so where that is possible, and their connections are closed.
func TestSlowRequests(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain", options: quick}, {name: "tls", tls: true, options: quick}}, cluster("web", "", b.addr()))
	const head = "POST /slow HTTP/1.1\r\nhost: h\r\n"
	for _, c := range []struct{ name, first, slowly, want string }{
		{"head", "", "GET /slow HTTP/1.1\r\nhost: h\r\nx: " + strings.Repeat("x", 10000), "408"},
		{"head, from its second line", head, "x: " + strings.Repeat("x", 10000), "408"},
		{"second head", "GET /works HTTP/1.1\r\nhost: h\r\n\r\n", "GET /slow HTTP/1.1\r\nx: " + strings.Repeat("x", 10000), "200 408"},
		{"nothing", "", "", ""},
		{"half a preface", "PRI * HT", "", "|408"},
		{"body", head + "content-length: 10000\r\n\r\n", strings.Repeat("x", 10000), "408"},
		{"large body", head + "content-length: 10000000\r\n\r\n", strings.Repeat("x", 10000), "408"},
		{"chunked body", head + "transfer-encoding: chunked\r\n\r\n", strings.Repeat("1\r\nx\r\n", 2000), "408"},
		{"one chunk", head + "transfer-encoding: chunked\r\n\r\nfffff\r\n", strings.Repeat("x", 10000), "408"},
		{"trailers", head + "transfer-encoding: chunked\r\n\r\n0\r\n", "x: " + strings.Repeat("x", 10000), "408"},
		{"body that may be kept", strings.Replace(head, "/slow", "/retried/slow", 1) + "transfer-encoding: chunked\r\n\r\n", strings.Repeat("1\r\nx\r\n", 2000), "408"},
		{"no body at all", head + "content-length: 10000000\r\n\r\n", "", "408"},
		{"expected body", head + "expect: 100-continue\r\ncontent-length: 100\r\n\r\n", "", "100 408"},
	} {
		for _, name := range []string{"plain", "tls"} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				conn := e.dial(t, name)
				if name == "tls" {
					_ = conn.Close()
					conn = e.dialTLS(t, name, "http/1.1")
				}
				stop, done := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(done)
					if _, err := io.WriteString(conn, c.first); err == nil {
						dribble(conn, []byte(c.slowly), stop)
					}
				}()
				got := statuses(conn)
				close(stop)
				<-done
				if !fits(got, c.want) && !(strings.HasPrefix(c.want, "|") && got == "") {
					t.Errorf("answered with %q, want %q", got, c.want)
				}
			})
		}
	}
}

// statuses reads answers until the connection ends.
func statuses(c net.Conn) string {
	in := bufio.NewReader(c)
	var all []string
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				all = append(all, "and then nothing")
			}
			return strings.Join(all, " ")
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		all = append(all, fmt.Sprint(resp.StatusCode))
	}
}

// The same over HTTP/2, where a stream is reset and the connection goes on, unless the connection itself is what is slow.
func TestSlowStreams(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain", options: quick}}, cluster("web", "", b.addr()))
	t.Run("body", func(t *testing.T) {
		r := e.http2(t, "plain")
		id := r.open(false, post("/slow"))
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				r.write.Lock()
				_ = r.WriteData(id, false, []byte("x"))
				r.write.Unlock()
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		}()
		if got := r.await(id); got != "408" {
			t.Errorf("answered with %s", got)
		}
		close(stop)
		<-done
		if got := r.await(r.open(true, get("/works"))); got != "200" {
			t.Errorf("the next: %s", got)
		}
	})
	t.Run("a block that does not go on", func(t *testing.T) {
		r := e.http2(t, "plain")
		r.settle()
		_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.encode(get("/slow"))})
		r.closed()
	})
	t.Run("half a frame", func(t *testing.T) {
		r := e.http2(t, "plain")
		r.settle()
		_, _ = r.conn.Write([]byte{0, 0, 20, 1})
		r.closed()
	})
	if all, _ := b.requests(); len(all) != 1 {
		t.Errorf("the endpoint saw %v", all)
	}
}

// Connections that nobody uses are cheap, and closed after a while.
func TestIdleConnections(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain", options: "request_headers_timeout: 120s"}, {name: "quick", options: quick}}, cluster("web", "", b.addr()))
	const many = 3000
	bounded(t, func() {
		var all []net.Conn
		for i := range many {
			c, err := net.Dial("tcp", e.at("plain"))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			all = append(all, c)
			if i%3 == 1 { // some have been used
				_, _ = io.WriteString(c, "GET /works HTTP/1.1\r\nhost: h\r\n\r\n")
			}
			if i%3 == 2 { // or begun
				_, _ = io.WriteString(c, "GET /works HTTP/1.1\r\nhost: ")
			}
		}
		e.works(t, "plain", "/works")
		eventually(t, "all are open", func() bool { return e.stat(t, "weft_proxy_downstream_connections_active") >= many })
		_ = all
	})
	var idle sync.WaitGroup
	for range 200 {
		c := e.dial(t, "quick")
		idle.Go(func() {
			if got := statuses(c); got != "" {
				t.Errorf("an idle connection was told %s", got)
			}
		})
	}
	idle.Wait()
}

// What is no TLS, or never becomes it, is closed and counted, and costs little.
func TestHalfHandshakes(t *testing.T) {
	b := listen(t, fine, nil)
	impatient := "listener_filters_timeout: 0.5s, listener_filters: [{name: i, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]"
	e := start(t, []listener{
		{name: "inspected", tls: true, more: impatient, chain: "transport_socket_connect_timeout: 1s, filter_chain_match: {server_names: [edge.test], transport_protocol: tls}"},
		{name: "tls", tls: true, chain: "transport_socket_connect_timeout: 1s"},
	}, cluster("web", "", b.addr()))
	record := func(kind byte, payload []byte) []byte {
		out := binary.BigEndian.AppendUint16([]byte{kind, 3, 1}, uint16(len(payload)))
		return append(out, payload...)
	}
	handshake := func(kind byte, length int, body []byte) []byte {
		return append([]byte{kind, byte(length >> 16), byte(length >> 8), byte(length)}, body...)
	}
	oversize := append([]byte(nil), record(22, handshake(1, 1<<24-1, make([]byte, 16000)))...)
	for range 200 {
		oversize = append(oversize, record(22, make([]byte, 16384))...)
	}
	crumbs := func() (out []byte) {
		hello := handshake(1, 1<<16-1, make([]byte, 1000))
		for _, b := range hello {
			out = append(out, record(22, []byte{b})...)
		}
		return out
	}()
	cases := map[string][]byte{
		"nothing": nil, "a byte": {22}, "half a record": record(22, make([]byte, 200))[:100], "half a hello": record(22, handshake(1, 500, make([]byte, 100))),
		"garbage":                       bytes.Repeat([]byte{0xaa}, 1000),
		"garbage that begins as TLS":    append([]byte{22, 3, 1, 2, 0}, bytes.Repeat([]byte{0xff}, 512)...),
		"HTTP":                          []byte("GET / HTTP/1.1\r\nhost: h\r\n\r\n"),
		"SSL 2":                         {0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10},
		"an empty record after another": bytes.Repeat(record(22, nil), 1000), "alerts": bytes.Repeat(record(21, []byte{1, 90}), 1000),
		"oversize": oversize, "crumbs": crumbs, "a hello of nothing": record(22, handshake(1, 0, nil)), "another message": record(22, handshake(2, 100, make([]byte, 100))),
		"a record too long": append([]byte{22, 3, 1, 0xff, 0xff}, make([]byte, 70000)...),
	}
	for _, name := range []string{"inspected", "tls"} {
		t.Run(name, func(t *testing.T) {
			before := e.stat(t, "bad_start") + e.stat(t, "handshake_failures") + e.stat(t, "no_filter_chain")
			n := 0
			bounded(t, func() {
				var wg sync.WaitGroup
				for what, raw := range cases {
					for range 20 {
						n++
						c := e.dial(t, name)
						wg.Go(func() {
							_, _ = c.Write(raw)
							got, err := io.ReadAll(c)
							if e, ok := err.(net.Error); ok && e.Timeout() {
								t.Errorf("%s: the connection stays open", what)
							}
							if bytes.Contains(got, []byte("HTTP/1.1 2")) {
								t.Errorf("%s: was served", what)
							}
						})
					}
				}
				wg.Wait()
			})
			eventually(t, "all are counted", func() bool {
				return e.stat(t, "bad_start")+e.stat(t, "handshake_failures")+e.stat(t, "no_filter_chain") == before+n
			})
			if got := answers(e.dialTLS(t, name, "http/1.1"), "GET /works HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", false); got != "200" {
				t.Errorf("an honest client: %s", got)
			}
		})
	}
}

// A client that was answered before it had sent its body may go on with the next request, however long that takes.
func TestAfterAnEarlyAnswer(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain", options: "delayed_close_timeout: 0.001s", routes: `{match: {prefix: "/early"}, direct_response: {status: 403}}, {match: {prefix: "/"}, route: {cluster: web}}`}}, cluster("web", "", b.addr()))
	c := e.dial(t, "plain")
	in := bufio.NewReader(c)
	for range 3 {
		_, _ = io.WriteString(c, "POST /early HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 403 {
			t.Fatalf("early: %v %v", resp, err)
		}
		e.works(t, "plain", "/works") // meanwhile what limited the end of the body is over
		_, _ = io.WriteString(c, "GET /works HTTP/1.1\r\nhost: h\r\n\r\n")
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("the next: %v %v", resp, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
}

// A client that sends requests and never reads an answer is cut off.
func TestUnreadAnswers(t *testing.T) {
	b := listen(t, func(c net.Conn, _ *received) bool {
		_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: 4000\r\n\r\n%s", strings.Repeat("x", 4000))
		return err == nil
	}, nil)
	e := start(t, []listener{{name: "plain", options: quick}}, cluster("web", "", b.addr()))
	bounded(t, func() {
		c := e.dial(t, "plain")
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		batch := []byte(strings.Repeat("GET /unread HTTP/1.1\r\nhost: h\r\n\r\n", 1000))
		for {
			if _, err := c.Write(batch); err != nil {
				if e, ok := err.(net.Error); ok && e.Timeout() {
					t.Error("the connection stays open")
				}
				break
			}
		}
		eventually(t, "the request is given up", func() bool { return e.stat(t, "weft_proxy_requests_active") == 0 })
	})
	e.works(t, "plain", "/works")
}
