package hostile

import (
	"strings"
	"testing"
)

// What has made two implementations see different requests: the endpoint sees what a strict reading gives, or nothing, and never a second request.
func TestRequestSmuggling(t *testing.T) {
	const ok = "GET /~ HTTP/1.1\r\nHost: h\r\n"
	const post = "POST /~ HTTP/1.1\r\nHost: h\r\n"
	const hidden = "GET /~/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	refused := func(name, status, stream string) conversation {
		return conversation{name: name, status: status, stream: stream}
	}
	// te is a request whose Transfer-Encoding some read as chunked and some do not.
	te := func(name, fields string) conversation {
		return refused("TE.TE: "+name, "400|501", post+fields+"\r\n0\r\n\r\n"+hidden)
	}
	converse(t, []conversation{
		refused("CL.TE", "400", post+"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden),
		refused("CL.TE, length of all", "400", post+"Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden),
		refused("TE.CL", "400", post+"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2c\r\n"+hidden+"\r\n0\r\n\r\n"),
		te("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
		te("second unknown", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"),
		te("first unknown", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n"),
		te("xchunked", "Transfer-Encoding: xchunked\r\n"),
		te("identity", "Transfer-Encoding: identity\r\n"),
		te("chunked, identity", "Transfer-Encoding: chunked, identity\r\n"),
		te("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
		te("quoted", "Transfer-Encoding: \"chunked\"\r\n"),
		te("space before colon", "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n"),
		te("tab before colon", "Transfer-Encoding\t: chunked\r\nContent-Length: 5\r\n"),
		te("vertical tab", "Transfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n"),
		te("form feed", "Transfer-Encoding: chunked\x0c\r\nContent-Length: 5\r\n"),
		te("no-break space", "Transfer-Encoding: \xa0chunked\r\nContent-Length: 5\r\n"),
		te("long s", "Tran\xc5\xbffer-Encoding: chunked\r\nContent-Length: 5\r\n"),
		te("folded", "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n"),
		te("folded name", "X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
		te("behind a bare CR", "X: y\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
		te("behind a bare LF", "X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
		te("space in front", " Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
		te("comma", "Transfer-Encoding: chunked,\r\nContent-Length: 5\r\n"),
		te("parameter", "Transfer-Encoding: chunked;q=1\r\n"),
		te("empty", "Transfer-Encoding:\r\nContent-Length: 5\r\n"),
		refused("TE in HTTP/1.0", "400", "POST /~ HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden),
		{
			name: "TE with an underscore is a field like any other", status: "200 200",
			stream: post + "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + last, seen: []string{"POST /~ 0\r\n\r\n", "GET /~/last"},
		},
		{
			name: "CL.0", status: "200 200", stream: post + "Content-Length: 40\r\n\r\n" + strings.Replace(hidden, "/~", "/xxxxxxxx", 1)[:40] + last,
			seen: []string{"POST /~ " + strings.Replace(hidden, "/~", "/xxxxxxxx", 1)[:40], "GET /~/last"},
		},
		{
			name: "CL.0 on GET", status: "200 200", stream: ok + "Content-Length: 5\r\n\r\nGET /" + last, seen: []string{"GET /~ GET /", "GET /~/last"},
		},
		{
			name: "0.CL: the body that is told of never comes", status: "", stream: post + "Content-Length: 500\r\n\r\n" + hidden, partly: true,
		},
		{
			name: "chunked GET", status: "200 200", stream: ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n" + last,
			seen: []string{"GET /~ GET /", "GET /~/last"},
		},
		{
			name: "Connection names the framing", status: "200 200", stream: post + "Connection: content-length, transfer-encoding, host\r\nContent-Length: 5\r\n\r\nGET /" + last,
			seen: []string{"POST /~ GET /", "GET /~/last"},
		},
		{
			name: "an empty chunk of many digits", status: "200 200", stream: post + "Transfer-Encoding: chunked\r\n\r\n000\r\n\r\n" + last,
			seen: []string{"POST /~", "GET /~/last"},
		},
		{
			name: "extension that looks like a chunk", status: "200 200", stream: post + "Transfer-Encoding: chunked\r\n\r\n2;\"0\r\nab\r\n0\r\n\r\n" + last,
			seen: []string{"POST /~ ab", "GET /~/last"},
		},
		{
			name: "trailers that frame, route or say who somebody is", status: "200 200",
			stream: post + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: b\r\nAuthorization: x\r\nX-Forwarded-For: y\r\nX-Forwarded-Client-Cert: y\r\nX-Envoy-Internal: y\r\nCookie: z\r\nConnection: close\r\n\r\n" + last,
			seen:   []string{"POST /~ a x-a=b", "GET /~/last"},
		},
		{name: "pipelined", status: "200 200 200", stream: ok + "\r\n" + post + "Content-Length: 1\r\n\r\na" + last, seen: []string{"GET /~", "POST /~ a", "GET /~/last"}},
		{
			name: "pipelined, the second malformed", status: "200 400", stream: ok + "\r\n" + post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n" + hidden,
			seen: []string{"GET /~"},
		},
		{name: "one LF too many", status: "200 400", stream: ok + "\r\n\n" + hidden, seen: []string{"GET /~"}},

		// Who is asked.
		{name: "absolute form", status: "200", stream: "GET http://h/~ HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n", seen: []string{"GET /~"}},
		refused("absolute form, user information", "400", "GET http://a@h/~ HTTP/1.1\r\nHost: h\r\n\r\n"+hidden),
		refused("absolute form, no host", "400", "GET http:///~ HTTP/1.1\r\nHost: h\r\n\r\n"+hidden),
		refused("absolute form, other scheme", "400", "GET ftp://h/~ HTTP/1.1\r\nHost: h\r\n\r\n"+hidden),
		refused("absolute form, backslash", "400", "GET http://h\\@i/~ HTTP/1.1\r\nHost: h\r\n\r\n"+hidden),
		refused("host with tab", "400", "GET /~ HTTP/1.1\r\nHost: h\ti\r\n\r\n"+hidden),
		{name: "host with tab behind", status: "200", stream: "GET /~ HTTP/1.1\r\nHost: h\t\r\nConnection: close\r\n\r\n", seen: []string{"GET /~"}},
		refused("CONNECT with a body", "400", "CONNECT h:80 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"+hidden),
		{name: "CONNECT that nobody allows", status: "403|404 200", stream: "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n" + last, seen: []string{"GET /~/last"}},

		// Expect.
		{
			name: "Expect, and the body at once", status: "200 200", stream: post + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nGET /" + last,
			seen: []string{"POST /~ GET /", "GET /~/last"},
		},
		{
			name: "Expect without a body", status: "200 200", stream: ok + "Expect: 100-continue\r\n\r\n" + last, seen: []string{"GET /~", "GET /~/last"},
		},
		{
			name: "Expect twice", status: "200 200", stream: post + "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na" + last,
			seen: []string{"POST /~ a", "GET /~/last"},
		},
		refused("Expect, obscured", "417", post+"Expect: y 100-continue\r\nContent-Length: 5\r\n\r\n"+hidden),

		// Upgrades that the endpoint does not make: what follows is HTTP still.
		{
			name: "WebSocket refused, and a request behind", status: "200 200",
			stream: ok + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: x\r\n\r\n" + last, seen: []string{"GET /~", "GET /~/last"},
		},
		{
			name: "h2c is not begun", status: "200 200", stream: ok + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + last,
			seen: []string{"GET /~", "GET /~/last"},
		},
		{
			name: "upgrade with a body", status: "200 200", stream: post + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nGET /" + last,
			seen: []string{"POST /~ GET /", "GET /~/last"},
		},
		{
			name: "upgrade to something unknown", status: "403 200", stream: ok + "Connection: Upgrade\r\nUpgrade: smuggle/1\r\n\r\n" + last, seen: []string{"GET /~/last"},
		},
		{name: "HEAD", status: "200 200", head: true, stream: "HEAD /~ HTTP/1.1\r\nHost: h\r\n\r\n" + last, seen: []string{"HEAD /~", "GET /~/last"}},
		{name: "a method that nobody knows", status: "200 200", stream: "GPOST /~ HTTP/1.1\r\nHost: h\r\n\r\n" + last, seen: []string{"GPOST /~", "GET /~/last"}},
	})
}
