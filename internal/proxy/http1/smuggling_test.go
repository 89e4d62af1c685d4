package http1

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is known to make two implementations see two different messages, and what must go on to work. Each is read whole, cut at every byte, and
// byte by byte, and must come to the same: these messages, then this error.
var requests = []struct {
	name   string
	stream string
	want   []string
	rest   string // what the connection is left in
	err    *Error
}{
	{"plain", "GET /a?b HTTP/1.1\r\nHost: h\r\nX-A:  1 \r\nx-b:\r\n\r\n", []string{"GET h /a?b HTTP/1.1 [x-a: 1][x-b: ]"}, "", nil},
	{"pipelined", "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nhost: h\r\n\r\n",
		[]string{`POST h / HTTP/1.1 body "abc"`, "GET h /2 HTTP/1.1"}, "", nil},
	{"chunked", "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n00\r\nx-t: 1\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\n\r\n",
		[]string{`POST h / HTTP/1.1 trailers [x-t: 1] body "abc0123456789"`, "GET h /2 HTTP/1.1"}, "", nil},
	{"an empty line in front", "\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n", []string{"GET h / HTTP/1.1"}, "", nil},
	{"two empty lines in front", "\r\n\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrMethod},
	{"length 0 in front of digits", "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0003\r\n\r\nabc", []string{`POST h / HTTP/1.1 body "abc"`}, "", nil},

	// Content-Length against Transfer-Encoding.
	{"CL.TE", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED", nil, "", ErrLengthAndChunked},
	{"TE.CL", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n", nil, "", ErrLengthAndChunked},
	{"CL.0 with TE", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", nil, "", ErrLengthAndChunked},
	{"TE twice", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE.TE other second", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE.TE identity first", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE identity", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE xchunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE with vertical tab", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", nil, "", ErrFieldValue},
	{"TE with form feed behind", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n", nil, "", ErrFieldValue},
	{"TE with NUL", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n", nil, "", ErrFieldValue},
	{"TE quoted", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE empty", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE comma in front", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE comma behind", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE chunked chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE chunked not last", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE gzip chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncoding},
	{"TE with parameter", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE in HTTP/1.0", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", nil, "", ErrTransferEncodings},
	{"TE folded", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", nil, "", ErrFieldFold},
	{"TE folded by tab", "POST / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", nil, "", ErrFieldFold},
	{"TE with space before colon", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", nil, "", ErrFieldName},
	{"TE with tab before colon", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", nil, "", ErrFieldName},
	{"TE with underscore is another field", "POST / HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\n\r\n", []string{"POST h / HTTP/1.1 [transfer_encoding: chunked]"}, "", nil},
	{"TE behind a bare CR", "POST / HTTP/1.1\r\nHost: h\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n", nil, "", ErrFieldValue},
	{"TE behind a bare LF", "POST / HTTP/1.1\r\nHost: h\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n", nil, "", ErrLineEnd},
	{"name with high byte", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encodin\xc7: chunked\r\n\r\n", nil, "", ErrFieldName},

	// Content-Length.
	{"CL twice the same", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", nil, "", ErrContentLengths},
	{"CL twice", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 0\r\n\r\nabc", nil, "", ErrContentLengths},
	{"CL list", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", nil, "", ErrContentLength},
	{"CL plus", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", nil, "", ErrContentLength},
	{"CL minus", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\nabc", nil, "", ErrContentLength},
	{"CL hex", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc", nil, "", ErrContentLength},
	{"CL space inside", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3 0\r\n\r\nabc", nil, "", ErrContentLength},
	{"CL underscore", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1_0\r\n\r\nabc", nil, "", ErrContentLength},
	{"CL empty", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", nil, "", ErrContentLength},
	{"CL too large", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551619\r\n\r\nabc", nil, "", ErrContentLength},
	{"CL non-ASCII digit", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \xd9\xa3\r\n\r\nabc", nil, "", ErrContentLength},
	{"CL space before colon", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc", nil, "", ErrFieldName},
	{"CL nominated", "POST / HTTP/1.1\r\nHost: h\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc", []string{`POST h / HTTP/1.1 body "abc"`}, "", nil},

	// Chunks.
	{"chunk size plus", chunked("+3\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size minus", chunked("-3\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size 0x", chunked("0x3\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size space in front", chunked(" 3\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size space behind", chunked("3 \r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size tab behind", chunked("3\t\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size underscore", chunked("1_0\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size empty", chunked("\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size extension only", chunked(";a\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size overflow 64", chunked("10000000000000003\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size overflow 63", chunked("8000000000000000\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size zeros without end", chunked("0000000000000000000\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size bare LF", chunked("3\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk size CR CR", chunked("3\r\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk extension with LF", chunked("3;a\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkExtension},
	{"chunk extension with CR", chunked("3;a\rb\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkSize},
	{"chunk extension with NUL", chunked("3;a\x00\r\nabc\r\n0\r\n\r\n"), nil, "", ErrChunkExtension},
	{"chunk data too long", chunked("3\r\nabcd\r\n0\r\n\r\n"), nil, "", ErrChunkEnd},
	{"chunk data ends in LF", chunked("3\r\nabc\n0\r\n\r\n"), nil, "", ErrChunkEnd},
	{"chunk data ends in CR", chunked("3\r\nabc\rX0\r\n\r\n"), nil, "", ErrChunkEnd},
	{"chunk data without an end", chunked("3\r\nabc0\r\n\r\n"), nil, "", ErrChunkEnd},
	{"last chunk ends in LF", chunked("0\n\r\n"), nil, "", ErrChunkSize},
	{"trailers end in LF", chunked("0\r\n\n"), nil, "", ErrLineEnd},
	{"trailer is framing", chunked("0\r\nContent-Length: 5\r\n\r\n"), nil, "", ErrTrailerField},
	{"trailer is chunked", chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"), nil, "", ErrTrailerField},
	{"trailer is host", chunked("0\r\nHost: evil\r\n\r\n"), nil, "", ErrTrailerField},
	{"trailer folded", chunked("0\r\nx: a\r\n b\r\n\r\n"), nil, "", ErrFieldFold},
	{"trailer is a request", chunked("0\r\nGET /admin HTTP/1.1\r\n\r\n"), nil, "", ErrFieldName},
	{"trailers that are left out", chunked("0\r\nAuthorization: x\r\nX-Forwarded-For: y\r\nA: b\r\n\r\n"), []string{"POST h / HTTP/1.1 trailers [a: b]"}, "", nil},

	// Request lines.
	{"two spaces", "GET  / HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},
	{"two spaces behind", "GET /  HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},
	{"space behind", "GET / HTTP/1.1 \r\nhost: h\r\n\r\n", nil, "", ErrRequestLine},
	{"space in front", " GET / HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrRequestLine},
	{"tab", "GET\t/ HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrMethod},
	{"tab behind target", "GET /\tHTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrRequestLine},
	{"space in target", "GET /a b HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},
	{"request in target", "GET / HTTP/1.1\rGET /admin HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},
	{"no target", "GET HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrRequestLine},
	{"HTTP/0.9", "GET /\r\n\r\n", nil, "", ErrRequestLine},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nhost: h\r\n\r\n", nil, "", ErrVersion},
	{"HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", nil, "", ErrVersion},
	{"http/1.1", "GET / http/1.1\r\nhost: h\r\n\r\n", nil, "", ErrRequestLine},
	{"HTTP/01.1", "GET / HTTP/01.1\r\nhost: h\r\n\r\n", nil, "", ErrRequestLine},
	{"HTTP/1.10", "GET / HTTP/1.10\r\nhost: h\r\n\r\n", nil, "", ErrRequestLine},
	{"HTTP/1,1", "GET / HTTP/1,1\r\nhost: h\r\n\r\n", nil, "", ErrRequestLine},
	{"HTTP/1.", "GET / HTTP/1.\r\nhost: h\r\n\r\n", nil, "", ErrRequestLine},
	{"method with colon", "GE:T / HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrMethod},
	{"method with NUL", "GE\x00T / HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrMethod},
	{"target with NUL", "GET /\x00 HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},
	{"fragment", "GET /a#b HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},
	{"no slash", "GET a HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00", nil, "", ErrRequestLine},
	{"bare LF everywhere", "GET / HTTP/1.1\nhost: h\n\n", nil, "", ErrLineEnd},
	{"empty line of LF only", "GET / HTTP/1.1\r\nhost: h\r\n\n", nil, "", ErrLineEnd},
	{"CR CR LF", "GET / HTTP/1.1\r\r\nhost: h\r\n\r\n", nil, "", ErrRequestLine},

	// Hosts and targets.
	{"no host", "GET / HTTP/1.1\r\n\r\n", nil, "", ErrHost},
	{"no host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", []string{"GET  / HTTP/1.0 close"}, `raw ""`, nil},
	{"two hosts", "GET / HTTP/1.1\r\nhost: h\r\nHost: h\r\n\r\n", nil, "", ErrHost},
	{"two hosts in HTTP/1.0", "GET / HTTP/1.0\r\nhost: h\r\nHost: h\r\n\r\n", nil, "", ErrHost},
	{"host list", "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", nil, "", ErrHost},
	{"host with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", nil, "", ErrHost},
	{"host with user", "GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", nil, "", ErrHost},
	{"host with a bad port", "GET / HTTP/1.1\r\nhost: a:99999\r\n\r\n", nil, "", ErrHost},
	{"host with two ports", "GET / HTTP/1.1\r\nhost: a:1:2\r\n\r\n", nil, "", ErrHost},
	{"host with a port that is empty", "GET / HTTP/1.1\r\nhost: a:\r\n\r\n", nil, "", ErrHost},
	{"host non-ASCII", "GET / HTTP/1.1\r\nhost: \xc3\xa4\r\n\r\n", nil, "", ErrHost},
	{"host IPv6", "GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", []string{"GET [::1]:80 / HTTP/1.1"}, "", nil},
	{"host IPv6 open", "GET / HTTP/1.1\r\nhost: [::1\r\n\r\n", nil, "", ErrHost},
	{"host folded in", "GET / HTTP/1.1\r\n host: evil\r\nhost: h\r\n\r\n", nil, "", ErrFieldFold},
	{"host nominated", "GET / HTTP/1.1\r\nhost: h\r\nconnection: host, x-forwarded-for, authorization, x-hop, Foo\r\nauthorization: a\r\nx-forwarded-for: 1\r\nfoo: 2\r\n\r\n",
		[]string{"GET h / HTTP/1.1 [authorization: a][x-forwarded-for: 1]"}, "", nil},
	{"absolute", "GET http://a:1/p?q HTTP/1.1\r\nhost: b\r\n\r\n", []string{"GET a:1 /p?q HTTP/1.1"}, "", nil},
	{"absolute without a path", "GET HTTP://a HTTP/1.1\r\nhost: b\r\n\r\n", []string{"GET a / HTTP/1.1"}, "", nil},
	{"absolute with a query only", "GET https://abc?q=/ HTTP/1.1\r\nhost: b\r\n\r\n", []string{"GET abc /?q=/ HTTP/1.1"}, "", nil},
	{"absolute without host", "GET http://a/ HTTP/1.1\r\n\r\n", nil, "", ErrHost},
	{"absolute with user", "GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", nil, "", ErrUserinfo},
	{"absolute with backslash", "GET http://a\\@b/ HTTP/1.1\r\nhost: a\r\n\r\n", nil, "", ErrUserinfo},
	{"absolute without authority", "GET http:///p HTTP/1.1\r\nhost: a\r\n\r\n", nil, "", ErrTarget},
	{"another scheme", "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", nil, "", ErrTarget},
	{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n", []string{"OPTIONS h * HTTP/1.1"}, "", nil},
	{"OPTIONS absolute", "OPTIONS http://h HTTP/1.1\r\nhost: h\r\n\r\n", []string{"OPTIONS h * HTTP/1.1"}, "", nil},
	{"GET *", "GET * HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},
	{"CONNECT", "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n", []string{"CONNECT h:443  HTTP/1.1"}, "", nil},
	{"CONNECT without port", "CONNECT h HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},
	{"CONNECT with a path", "CONNECT / HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},
	{"CONNECT with a length", "CONNECT h:1 HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n", nil, "", ErrConnectBody},
	{"authority form with GET", "GET h:443 HTTP/1.1\r\nhost: h\r\n\r\n", nil, "", ErrTarget},

	// Fields.
	{"name with NUL", "GET / HTTP/1.1\r\nhost: h\r\nx\x00y: 1\r\n\r\n", nil, "", ErrFieldName},
	{"no name", "GET / HTTP/1.1\r\nhost: h\r\n: 1\r\n\r\n", nil, "", ErrFieldName},
	{"no colon", "GET / HTTP/1.1\r\nhost: h\r\nx\r\n\r\n", nil, "", ErrFieldName},
	{"value with DEL", "GET / HTTP/1.1\r\nhost: h\r\nx: 12345678\x7f\r\n\r\n", nil, "", ErrFieldValue},
	{"value with tab and bytes above ASCII", "GET / HTTP/1.1\r\nhost: h\r\nx: 123456\t8\xff\x80\r\n\r\n", []string{"GET h / HTTP/1.1 [x: 123456\t8\xff\x80]"}, "", nil},
	{"expects something else", "GET / HTTP/1.1\r\nhost: h\r\nexpect: x\r\n\r\n", nil, "", ErrExpect},
	{"TE: trailers stays", "GET / HTTP/1.1\r\nhost: h\r\nte: gzip;q=0.5, Trailers\r\nconnection: te\r\n\r\n", []string{"GET h / HTTP/1.1 [te: trailers]"}, "", nil},
	{"TE goes", "GET / HTTP/1.1\r\nhost: h\r\nte: gzip\r\nkeep-alive: 5\r\nproxy-connection: x\r\n\r\n", []string{"GET h / HTTP/1.1"}, "", nil},
	{"connection option is no token", "GET / HTTP/1.1\r\nhost: h\r\nconnection: a b\r\n\r\n", nil, "", ErrConnection},

	// The life of a connection.
	{"close", "GET / HTTP/1.1\r\nhost: h\r\nconnection: keep-alive, Close\r\n\r\nGET /2 HTTP/1.1\r\n", []string{"GET h / HTTP/1.1 close"}, `raw "GET /2 HTTP/1.1\r\n"`, nil},
	{"HTTP/1.0 keep-alive", "GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n", []string{"GET  / HTTP/1.0", "GET  /2 HTTP/1.0 close"}, `raw ""`, nil},
	{"WebSocket", "GET / HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\r\n", []string{"GET h / HTTP/1.1 upgrade websocket"}, "", nil},
	{"upgrade without connection", "GET / HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\n\r\n", []string{"GET h / HTTP/1.1"}, "", nil},
	{"upgrade with a body", "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 1\r\n\r\nx", []string{`GET h / HTTP/1.1 body "x"`}, "", nil},
	{"upgrade to one of two", "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: a, websocket\r\n\r\n", []string{"GET h / HTTP/1.1"}, "", nil},
	{"h2c", "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n\r\n", []string{"GET h / HTTP/1.1"}, "", nil},
	{"unfinished head", "GET / HTTP/1.1\r\nhost: h\r\n", nil, "in state 0", nil},
	{"unfinished body", "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nabc", nil, "in state 1", nil},
}

func chunked(body string) string {
	return "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body
}

func TestRequests(t *testing.T) {
	for _, tt := range requests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, []byte(tt.stream), nil, tt.want, tt.rest, tt.err)
		})
	}
}

func check(t *testing.T, stream []byte, asked *Asked, want []string, rest string, wantErr *Error) {
	t.Helper()
	out, left, err := read(stream, asked)
	if wantErr == nil && err != nil || wantErr != nil && !errors.Is(err, wantErr) {
		t.Errorf("error %v, want %v", err, wantErr)
	}
	if d := cmp.Diff(want, out); d != "" {
		t.Error(d)
	}
	if left != rest {
		t.Errorf("left %s, want %s", left, rest)
	}
	samePieces(t, stream, asked)
}

// samePieces tells that it does not matter in which pieces bytes come.
func samePieces(t *testing.T, stream []byte, asked *Asked) {
	t.Helper()
	out, left, err := read(stream, asked)
	all := make([]int, len(stream))
	for i := range stream {
		all[i] = i
		for _, cuts := range [][]int{{i}, all[:i+1]} {
			if len(cuts) > 1 && i != len(stream)-1 {
				continue
			}
			o, l, e := read(stream, asked, cuts...)
			if !cmp.Equal(o, out) || l != left || e != err {
				t.Fatalf("cut at %v: %q, %s, %v; whole: %q, %s, %v", cuts, o, l, e, out, left, err)
			}
		}
	}
}
