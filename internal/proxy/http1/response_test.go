package http1

import (
	"testing"

	"github.com/weftmesh/weft/internal/proxy/message"
)

var responses = []struct {
	name   string
	asked  Asked
	stream string
	want   []string
	rest   string
	err    *Error
}{
	{"length", get, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nab", []string{`200 [x: y] body "ab"`}, "", nil},
	{"no reason", get, "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", []string{"200 "}, "", nil},
	{"empty reason", get, "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", []string{"200 "}, "", nil},
	{"chunked", get, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nt: u\r\n\r\n", []string{`200  trailers [t: u] body "ab"`}, "", nil},
	{"to the end", get, "HTTP/1.1 200 OK\r\n\r\nabc", nil, `raw "abc"`, nil},
	{"interim", get, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nlink: a\r\n\r\nHTTP/1.1 204 x\r\n\r\n", []string{"100 ", "103 [link: a]", "204 "}, "", nil},
	{"HEAD", Asked{Method: "HEAD"}, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", []string{"200 ", "200 "}, "", nil},
	{"304", get, "HTTP/1.1 304 x\r\ncontent-length: 5\r\n\r\n", []string{"304 "}, "", nil},
	{"204 that announces a body", get, "HTTP/1.1 204 x\r\ncontent-length: 5\r\n\r\nabcde", []string{"204  close"}, `raw "abcde"`, nil},
	{"1xx that announces a body", get, "HTTP/1.1 103 x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", []string{"103  close"}, `raw "0\r\n\r\n"`, nil},
	{"101", Asked{Method: "GET", Protocol: "websocket"}, "HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nab", nil, `raw "ab"`, nil},
	{"101 unasked", get, "HTTP/1.1 101 x\r\nupgrade: websocket\r\n\r\n", nil, "", ErrUnasked},
	{"CONNECT", Asked{Method: "CONNECT"}, "HTTP/1.1 200 x\r\ncontent-length: 4\r\n\r\nab", nil, `raw "ab"`, nil},
	{"CONNECT refused", Asked{Method: "CONNECT"}, "HTTP/1.1 403 x\r\ncontent-length: 2\r\n\r\nab", []string{`403  body "ab"`}, "", nil},
	{"HTTP/1.0", get, "HTTP/1.0 200 x\r\ncontent-length: 2\r\n\r\nab", []string{`200  body "ab" close`}, `raw ""`, nil},
	{"HTTP/1.0 keep-alive", get, "HTTP/1.0 200 x\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nab", []string{`200  body "ab"`}, "", nil},
	{"close", get, "HTTP/1.1 200 x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab", []string{`200  body "ab" close`}, `raw ""`, nil},
	{"length and chunked", get, "HTTP/1.1 200 x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", nil, "", ErrLengthAndChunked},
	{"gzip", get, "HTTP/1.1 200 x\r\ntransfer-encoding: gzip\r\n\r\n", nil, "", ErrTransferEncodings},
	{"two lengths", get, "HTTP/1.1 200 x\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab", nil, "", ErrContentLengths},
	{"bare LF", get, "HTTP/1.1 200 OK\ncontent-length: 0\n\n", nil, "", ErrLineEnd},
	{"folded", get, "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n", nil, "", ErrFieldFold},
	{"space before colon", get, "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", nil, "", ErrFieldName},
	{"four digits", get, "HTTP/1.1 2000\r\n\r\n", nil, "", ErrStatusLine},
	{"two digits", get, "HTTP/1.1 20 OK\r\n\r\n", nil, "", ErrStatusLine},
	{"sign", get, "HTTP/1.1 +20 OK\r\n\r\n", nil, "", ErrStatusLine},
	{"099", get, "HTTP/1.1 099 OK\r\n\r\n", nil, "", ErrStatusLine},
	{"another version", get, "HTTP/3.0 200 OK\r\n\r\n", nil, "", ErrVersion},
	{"another protocol", get, "SSH-2.0-OpenSSH\r\n\r\n", nil, "", ErrStatusLine},
	{"reason with NUL", get, "HTTP/1.1 200 O\x00K\r\n\r\n", nil, "", ErrStatusLine},
	{"reason with CR", get, "HTTP/1.1 200 O\rK\r\n\r\n", nil, "", ErrStatusLine},
	{"empty line in front", get, "\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", nil, "", ErrStatusLine},
}

var get = Asked{Method: "GET", Version: message.HTTP11}

func TestResponses(t *testing.T) {
	for _, tt := range responses {
		t.Run(tt.name, func(t *testing.T) {
			check(t, []byte(tt.stream), &tt.asked, tt.want, tt.rest, tt.err)
		})
	}
}
