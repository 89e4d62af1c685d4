package hostile

import (
	"strings"
	"testing"
)

// last is the request that ends a connection whose client may go on.
const last = "GET /~/last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

// behind is what an attacker would like to have served where the request before it was refused.
const behind = "GET /~/behind HTTP/1.1\r\nHost: h\r\n\r\n"

// What is no HTTP is answered with what is wrong, the connection is closed, and the endpoint knows nothing of it.
func TestMalformedHTTP(t *testing.T) {
	refused := func(name, status, stream string) conversation {
		return conversation{name: name, status: status, stream: stream + behind}
	}
	broken := func(name, body string) conversation {
		return conversation{
			name: "chunks: " + name, status: "400", partly: true,
			stream: "POST /~ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body + behind,
		}
	}
	converse(t, []conversation{
		refused("request line: nothing", "400", "NONSENSE\r\n\r\n"),
		refused("request line: no version", "400", "GET /~\r\nHost: h\r\n\r\n"),
		refused("request line: no target", "400", "GET HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("request line: two spaces", "400", "GET  /~ HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("request line: tab", "400", "GET\t/~ HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("request line: vertical tab", "400", "GET\x0b/~ HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("request line: space in front", "400", " GET /~ HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("request line: method with a colon", "400", "GET: /~ HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("request line: version 2.0", "400|505", "GET /~ HTTP/2.0\r\nHost: h\r\n\r\n"),
		refused("request line: version 1.9", "400|505", "GET /~ HTTP/1.9\r\nHost: h\r\n\r\n"),
		refused("request line: version in small letters", "400", "GET /~ http/1.1\r\nHost: h\r\n\r\n"),
		refused("request line: NUL", "400", "GET /~\x00 HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("request line: fragment", "400", "GET /~#x HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("request line: target without a slash", "400", "GET ~ HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("request line: bare LF", "400", "GET /~ HTTP/1.1\nHost: h\n\n"),
		refused("request line: too long", "414|431", "GET /~?"+strings.Repeat("x", 100<<10)+" HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("two empty lines in front", "400", "\r\n\r\nGET /~ HTTP/1.1\r\nHost: h\r\n\r\n"),
		refused("a ClientHello", "400", "\x16\x03\x01\x00\x05hello\r\n\r\n"),
		refused("half a preface of HTTP/2", "400|505", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),

		refused("host: none", "400", "GET /~ HTTP/1.1\r\n\r\n"),
		refused("host: two", "400", "GET /~ HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"),
		refused("host: empty", "400", "GET /~ HTTP/1.1\r\nHost:\r\n\r\n"),
		refused("host: list", "400", "GET /~ HTTP/1.1\r\nHost: h, i\r\n\r\n"),
		refused("host: user information", "400", "GET /~ HTTP/1.1\r\nHost: a@h\r\n\r\n"),
		refused("host: path", "400", "GET /~ HTTP/1.1\r\nHost: h/admin\r\n\r\n"),
		refused("host: port that is none", "400", "GET /~ HTTP/1.1\r\nHost: h:80x\r\n\r\n"),

		refused("length: two", "400", "POST /~ HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"),
		refused("length: two that differ", "400", "POST /~ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\n"),
		refused("length: list", "400", "POST /~ HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\na"),
		refused("length: sign", "400", "POST /~ HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\na"),
		refused("length: negative", "400", "POST /~ HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\na"),
		refused("length: too large", "400", "POST /~ HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\na"),
		refused("length: and chunked", "400", "POST /~ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),

		refused("field: fold", "400", "GET /~ HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n"),
		refused("field: fold by tab", "400", "GET /~ HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n"),
		refused("field: fold first", "400", "GET /~ HTTP/1.1\r\n Host: h\r\n\r\n"),
		refused("field: NUL in value", "400", "GET /~ HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n"),
		refused("field: NUL in name", "400", "GET /~ HTTP/1.1\r\nHost: h\r\nX\x00: a\r\n\r\n"),
		refused("field: bare CR in value", "400", "GET /~ HTTP/1.1\r\nHost: h\r\nX: a\rY: b\r\n\r\n"),
		refused("field: bare LF in value", "400", "GET /~ HTTP/1.1\r\nHost: h\r\nX: a\nY: b\r\n\r\n"),
		refused("field: space before colon", "400", "GET /~ HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n"),
		refused("field: no colon", "400", "GET /~ HTTP/1.1\r\nHost: h\r\nX\r\n\r\n"),
		refused("field: no name", "400", "GET /~ HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n"),
		refused("field: name that is no token", "400", "GET /~ HTTP/1.1\r\nHost: h\r\nX(y): a\r\n\r\n"),
		refused("field: too large", "431", "GET /~ HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 61<<10)+"\r\n\r\n"),
		refused("field: too many", "431", "GET /~ HTTP/1.1\r\nHost: h\r\n"+strings.Repeat("X: a\r\n", 200)+"\r\n"),
		refused("field: without an end", "431", "GET /~ HTTP/1.1\r\nHost: h\r\n"+strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 100)),
		refused("expectation that nobody knows", "417", "POST /~ HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\na"),

		broken("extension without an end", "1;"+strings.Repeat("x", 50<<10)+"\r\na\r\n0\r\n\r\n"),
		broken("extensions without an end", strings.Repeat("1;"+strings.Repeat("x", 500)+"\r\na\r\n", 100)+"0\r\n\r\n"),
		broken("extension with LF", "1;x\na\r\n0\r\n\r\n"),
		broken("extension with NUL", "1;x\x00\r\na\r\n0\r\n\r\n"),
		broken("size that is none", "x\r\na\r\n0\r\n\r\n"),
		broken("size with 0x", "0x1\r\na\r\n0\r\n\r\n"),
		broken("size too large", "fffffffffffffffff\r\na\r\n0\r\n\r\n"),
		broken("size with spaces", "1 \r\na\r\n0\r\n\r\n"),
		broken("data too long", "1\r\nabc\r\n0\r\n\r\n"),
		broken("data ends in LF", "1\r\na\n0\r\n\r\n"),
		broken("trailer that frames", "1\r\na\r\n0\r\nContent-Length: 3\r\n\r\n"),
		broken("trailer that is folded", "1\r\na\r\n0\r\nX: a\r\n b\r\n\r\n"),
		broken("trailer with NUL", "1\r\na\r\n0\r\nX: a\x00\r\n\r\n"),
		broken("trailers without an end", "1\r\na\r\n0\r\n"+strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 100)),
		broken("after much that was right", strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 64)+"zz\r\n"),
	})
}
