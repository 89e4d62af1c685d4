package hostile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What HTTP/2 can carry and HTTP/1.1 cannot, or would read as something else: the endpoint, which speaks HTTP/1.1, sees one request or none.
func TestDowngrade(t *testing.T) {
	const protocol = "RST_STREAM PROTOCOL_ERROR"
	cases := []struct {
		name     string
		fields   []string // "/~" stands for a path of its own
		body     string
		trailers []string
		want     string // "200" if it is nothing else
		seen     string // by the endpoint; "" if it is nothing
	}{
		{name: "plain", fields: get("/~"), want: "200", seen: "GET /~"},
		{name: "body", fields: post("/~"), body: "ab", want: "200", seen: "POST /~ ab"},
		{name: "GET with a body", fields: get("/~"), body: "ab", want: "200", seen: "GET /~ ab"},
		{name: "trailers", fields: post("/~"), body: "ab", trailers: []string{"x-a", "b"}, want: "200", seen: "POST /~ ab x-a=b"},

		{name: "H2.CL, body too long", fields: post("/~", "content-length", "0"), body: "GET /~/smuggled HTTP/1.1\r\nHost: h\r\n\r\n", want: protocol},
		{name: "H2.CL, body too short", fields: post("/~", "content-length", "50"), body: "ab", want: protocol},
		{name: "H2.CL, no body", fields: post("/~", "content-length", "50"), want: protocol},
		{name: "H2.CL twice", fields: post("/~", "content-length", "2", "content-length", "2"), body: "ab", want: protocol},
		{name: "H2.CL list", fields: post("/~", "content-length", "2, 2"), body: "ab", want: protocol},
		{name: "H2.CL sign", fields: post("/~", "content-length", "+2"), body: "ab", want: protocol},
		{name: "H2.CL right", fields: post("/~", "content-length", "2"), body: "ab", want: "200", seen: "POST /~ ab"},
		{name: "H2.TE", fields: post("/~", "transfer-encoding", "chunked"), body: "0\r\n\r\nGET /~/smuggled HTTP/1.1\r\nHost: h\r\n\r\n", want: protocol},
		{name: "H2.TE and length", fields: post("/~", "transfer-encoding", "chunked", "content-length", "2"), body: "ab", want: protocol},
		{name: "connection", fields: get("/~", "connection", "close"), want: protocol},
		{name: "keep-alive", fields: get("/~", "keep-alive", "1"), want: protocol},
		{name: "proxy-connection", fields: get("/~", "proxy-connection", "close"), want: protocol},
		{name: "upgrade", fields: get("/~", "upgrade", "websocket"), want: protocol},
		{name: "te", fields: get("/~", "te", "gzip"), want: protocol},
		{name: "te trailers", fields: get("/~", "te", "trailers"), want: "200", seen: "GET /~"},
		{name: "body looks like chunks", fields: post("/~"), body: "0\r\n\r\nGET /~/smuggled HTTP/1.1\r\nHost: h\r\n\r\n", want: "200", seen: "POST /~ 0\r\n\r\nGET /~/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"},

		{name: "CR LF in a value", fields: get("/~", "x", "a\r\nTransfer-Encoding: chunked"), want: protocol},
		{name: "CR in a value", fields: get("/~", "x", "a\rb"), want: protocol},
		{name: "LF in a value", fields: get("/~", "x", "a\nb"), want: protocol},
		{name: "NUL in a value", fields: get("/~", "x", "a\x00b"), want: protocol},
		{name: "CR LF at the end of a value", fields: get("/~", "x", "a\r\n"), want: protocol},
		{name: "space around a value", fields: get("/~", "x", " a "), want: protocol},
		{name: "CR LF in a name", fields: get("/~", "x\r\ny", "a"), want: protocol},
		{name: "colon in a name", fields: get("/~", "transfer-encoding: chunked\r\nx", "a"), want: protocol},
		{name: "colon in a name alone", fields: get("/~", "x:y", "a"), want: protocol},
		{name: "space in a name", fields: get("/~", "transfer-encoding ", "chunked"), want: protocol},
		{name: "capitals in a name", fields: get("/~", "Transfer-Encoding", "chunked"), want: protocol},
		{name: "empty name", fields: get("/~", "", "a"), want: protocol},
		{name: "high byte in a name", fields: get("/~", "x\xff", "a"), want: protocol},

		{name: "method with a line", fields: []string{":method", "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET", ":scheme", "http", ":authority", "h", ":path", "/~"}, want: protocol},
		{name: "method with a space", fields: []string{":method", "GET /admin", ":scheme", "http", ":authority", "h", ":path", "/~"}, want: protocol},
		{name: "method empty", fields: []string{":method", "", ":scheme", "http", ":authority", "h", ":path", "/~"}, want: protocol},
		{name: "path with a line", fields: get("/~ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: "), want: protocol},
		{name: "path with a space", fields: get("/~ HTTP/1.1"), want: protocol},
		{name: "path with NUL", fields: get("/~\x00"), want: protocol},
		{name: "path with tab", fields: get("/~\t"), want: protocol},
		{name: "path empty", fields: get(""), want: protocol},
		{name: "path without a slash", fields: get("~"), want: protocol},
		{name: "path absolute", fields: get("http://h/~"), want: protocol},
		{name: "path of OPTIONS", fields: get("*"), want: protocol},
		{name: "path with a fragment", fields: get("/~#x"), want: "400"},
		{name: "path twice", fields: get("/~", ":path", "/~/smuggled"), want: protocol},
		{name: "scheme with a line", fields: []string{":method", "GET", ":scheme", "http://h/~ HTTP/1.1\r\n", ":authority", "h", ":path", "/~"}, want: protocol},
		{name: "scheme with a path", fields: []string{":method", "GET", ":scheme", "http://other/x?", ":authority", "h", ":path", "/~"}, want: protocol},
		{name: "scheme missing", fields: []string{":method", "GET", ":authority", "h", ":path", "/~"}, want: protocol},
		{name: "authority with a line", fields: []string{":method", "GET", ":scheme", "http", ":authority", "h\r\nTransfer-Encoding: chunked", ":path", "/~"}, want: protocol},
		{name: "authority with a path", fields: []string{":method", "GET", ":scheme", "http", ":authority", "h/admin", ":path", "/~"}, want: protocol},
		{name: "authority with user information", fields: []string{":method", "GET", ":scheme", "http", ":authority", "a@h", ":path", "/~"}, want: protocol},
		{name: "authority as a list", fields: []string{":method", "GET", ":scheme", "http", ":authority", "h,i", ":path", "/~"}, want: protocol},
		{name: "authority with two ports", fields: []string{":method", "GET", ":scheme", "http", ":authority", "h:80:81", ":path", "/~"}, want: protocol},
		{name: "authority with a port too high", fields: []string{":method", "GET", ":scheme", "http", ":authority", "h:99999", ":path", "/~"}, want: protocol},
		{name: "authority of half an address", fields: []string{":method", "GET", ":scheme", "http", ":authority", "[::1", ":path", "/~"}, want: protocol},
		{name: "authority empty", fields: []string{":method", "GET", ":scheme", "http", ":authority", "", ":path", "/~"}, want: protocol},
		{name: "authority and host missing", fields: []string{":method", "GET", ":scheme", "http", ":path", "/~"}, want: protocol},
		{name: "host alone", fields: []string{":method", "GET", ":scheme", "http", ":path", "/~", "host", "h"}, want: "200", seen: "GET /~"},
		{name: "host differs", fields: get("/~", "host", "admin"), want: protocol},
		{name: "host twice", fields: get("/~", "host", "h", "host", "h"), want: protocol},
		{name: "host the same", fields: get("/~", "host", "h"), want: "200", seen: "GET /~"},
		{name: "pseudo-header that nobody knows", fields: get("/~", ":smuggled", "x"), want: protocol},
		{name: "pseudo-header of responses", fields: get("/~", ":status", "200"), want: protocol},
		{name: "pseudo-header behind a field", fields: []string{":method", "GET", ":scheme", "http", ":authority", "h", "x", "y", ":path", "/~"}, want: protocol},
		{name: "protocol without CONNECT", fields: get("/~", ":protocol", "websocket"), want: protocol},
		{name: "CONNECT", fields: []string{":method", "CONNECT", ":authority", "h:80"}, want: "403"},
		{name: "CONNECT with a path", fields: []string{":method", "CONNECT", ":scheme", "http", ":authority", "h:80", ":path", "/~"}, want: protocol},
		{name: "many cookies", fields: get("/~", "cookie", "a=b", "cookie", "c=d"), want: "200", seen: "GET /~"},
		{name: "expect", fields: post("/~", "expect", "100-continue"), body: "ab", want: "200", seen: "POST /~ ab"},
		{name: "http2-settings", fields: get("/~", "http2-settings", "AAMAAABk"), want: "200", seen: "GET /~"},

		{name: "trailers that frame", fields: post("/~"), body: "ab", trailers: []string{"content-length", "5"}, want: protocol},
		{name: "trailers that are chunked", fields: post("/~"), body: "ab", trailers: []string{"transfer-encoding", "chunked"}, want: protocol},
		{name: "trailers with a host", fields: post("/~"), body: "ab", trailers: []string{"host", "i"}, want: protocol},
		{name: "trailers with a path", fields: post("/~"), body: "ab", trailers: []string{":path", "/~/smuggled"}, want: protocol},
		{name: "trailers with a line", fields: post("/~"), body: "ab", trailers: []string{"x", "a\r\n\r\nGET /~/smuggled HTTP/1.1\r\n"}, want: protocol},
		{
			name: "trailers that say who somebody is", fields: post("/~"), body: "ab", want: "200", seen: "POST /~ ab x-a=b",
			trailers: []string{"authorization", "x", "cookie", "x", "x-forwarded-for", "x", "x-forwarded-client-cert", "x", "x-envoy-internal", "x", "x-request-id", "x", "x-a", "b"},
		},
	}
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain"}, {name: "tls", tls: true}}, cluster("web", "", b.addr()))
	for i, c := range cases {
		for _, name := range []string{"plain", "tls"} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				var r *raw2
				if name == "tls" {
					r = newRaw2(t, e.dialTLS(t, name, "h2"))
				} else {
					r = e.http2(t, name)
				}
				mark := func(s string) string { return strings.ReplaceAll(s, "/~", fmt.Sprintf("/%s-%d", name, i)) }
				fields := slices.Clone(c.fields)
				for i := range fields {
					fields[i] = mark(fields[i])
				}
				id := r.open(c.body == "" && c.trailers == nil, fields)
				if c.body != "" {
					_ = r.WriteData(id, c.trailers == nil, []byte(mark(c.body)))
				}
				if c.trailers != nil {
					r.write.Lock()
					_ = r.WriteHeaders(httpHeaders(id, r.encode(c.trailers)))
					r.write.Unlock()
				}
				if got := r.await(id); got != c.want {
					t.Errorf("answered with %s, want %s", got, c.want)
				}
				// The connection is as good as before.
				if got := r.await(r.open(true, get("/still"))); got != "200" {
					t.Errorf("a request after it: %s", got)
				}
			})
		}
	}
	e.end()
	b.wait()
	all, partial := b.requests()
	var want, got []string
	for i, c := range cases {
		for _, name := range []string{"plain", "tls"} {
			want = append(want, "GET /still")
			if c.seen != "" {
				want = append(want, strings.ReplaceAll(c.seen, "/~", fmt.Sprintf("/%s-%d", name, i)))
			}
		}
	}
	for _, r := range all {
		got = append(got, r.String())
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the endpoint saw (-want +got):\n%s", d)
	}
	for _, r := range partial {
		t.Logf("the endpoint saw a beginning: %s", r)
	}
	if len(b.stray) > 0 {
		t.Errorf("the endpoint saw what is no request: %q", b.stray)
	}
}
