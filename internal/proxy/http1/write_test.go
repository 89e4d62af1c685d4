package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/proxy/message"
)

func TestAppendRequest(t *testing.T) {
	for _, tt := range []struct {
		name   string
		r      message.Request
		fields string
		length int64
		want   string
	}{
		{"GET", message.Request{Method: "GET", Authority: "h", Path: "/"}, "a: b\nconnection: close\nhost: evil\ncontent-length: 7", 0,
			"GET / HTTP/1.1\r\nhost: h\r\na: b\r\n\r\n"},
		{"POST of nothing", message.Request{Method: "POST", Authority: "h", Path: "/"}, "", 0, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"},
		{"length", message.Request{Method: "POST", Authority: "h", Path: "/"}, "te: trailers", 12,
			"POST / HTTP/1.1\r\nhost: h\r\nconnection: te\r\nte: trailers\r\ncontent-length: 12\r\n\r\n"},
		{"unknown", message.Request{Method: "GET", Authority: "h", Path: "/"}, "te: gzip", -1, "GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"},
		{"CONNECT", message.Request{Method: "CONNECT", Authority: "h:1"}, "", -1, "CONNECT h:1 HTTP/1.1\r\nhost: h:1\r\n\r\n"},
		{"upgrade", message.Request{Method: "GET", Authority: "h", Path: "/", Protocol: "websocket"}, "", 0,
			"GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"},
		{"extended CONNECT", message.Request{Method: "CONNECT", Authority: "h", Path: "/c", Protocol: "websocket"}, "sec-websocket-key: k", -1,
			"GET /c HTTP/1.1\r\nhost: h\r\nsec-websocket-key: k\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"},
		{"line end in a value", message.Request{Method: "GET", Authority: "h", Path: "/"}, "a: b\rx: y", 0, ""},
		{"upper case", message.Request{Method: "GET", Authority: "h", Path: "/"}, "A: b", 0, ""},
		{"space in the path", message.Request{Method: "GET", Authority: "h", Path: "/ HTTP/1.1"}, "", 0, ""},
		{"no path", message.Request{Method: "GET", Authority: "h"}, "", 0, ""},
		{"line end in the authority", message.Request{Method: "GET", Authority: "h\r\nx: y", Path: "/"}, "", 0, ""},
		{"line end in the protocol", message.Request{Method: "GET", Authority: "h", Path: "/", Protocol: "a\r\nb"}, "", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addFields(&tt.r.Fields, tt.fields)
			b, _, err := AppendRequest(nil, &tt.r, tt.length)
			if string(b) != tt.want || (tt.want == "") != errors.Is(err, ErrUnwritable) {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func TestAppendResponse(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		fields string
		length int64
		to     Asked
		close  bool
		want   string
	}{
		{"length", 200, "a: b\ntransfer-encoding: chunked", 3, get, false, "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 3\r\n\r\n"},
		{"none", 404, "", 0, get, true, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"},
		{"unknown", 299, "", -1, get, false, "HTTP/1.1 299 \r\ntransfer-encoding: chunked\r\n\r\n"},
		{"unknown to HTTP/1.0", 200, "", -1, Asked{Method: "GET", Version: message.HTTP10}, false, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"},
		{"length to HTTP/1.0", 200, "", 1, Asked{Method: "GET", Version: message.HTTP10}, false, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n"},
		{"HEAD", 200, "", 3, Asked{Method: "HEAD", Version: message.HTTP11}, false, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"},
		{"HEAD unknown", 200, "", -1, Asked{Method: "HEAD", Version: message.HTTP11}, false, "HTTP/1.1 200 OK\r\n\r\n"},
		{"204", 204, "", 5, get, false, "HTTP/1.1 204 No Content\r\n\r\n"},
		{"304", 304, "", 0, get, false, "HTTP/1.1 304 Not Modified\r\n\r\n"},
		{"103", 103, "link: x", 0, get, false, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"},
		{"101", 101, "", -1, Asked{Method: "GET", Protocol: "websocket", Version: message.HTTP11}, false,
			"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"},
		{"101 unasked", 101, "", -1, get, false, ""},
		{"CONNECT", 200, "", -1, Asked{Method: "CONNECT", Version: message.HTTP11}, false, "HTTP/1.1 200 OK\r\n\r\n"},
		{"no status", 0, "", 0, get, false, ""},
		{"NUL", 200, "a: \x00", 0, get, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := message.Response{Status: tt.status}
			addFields(&r.Fields, tt.fields)
			b, _, err := AppendResponse(nil, &r, tt.length, tt.to, tt.close)
			if string(b) != tt.want || (tt.want == "") != errors.Is(err, ErrUnwritable) {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func addFields(f *message.Fields, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			f.Add(name, value)
		}
	}
}

func TestLimits(t *testing.T) {
	line, field := "GET / HTTP/1.1\r\nhost: h\r\n", "a: b\r\n"
	for _, tt := range []struct {
		name, stream string
		err          *Error
	}{
		{"just fits", line + "x: " + strings.Repeat("y", testHead-len(line)-7) + "\r\n\r\n", nil},
		{"one byte more", line + "x: " + strings.Repeat("y", testHead-len(line)-6) + "\r\n\r\n", ErrHeadLength},
		{"without an end", line + "x: " + strings.Repeat("y", testHead), ErrHeadLength},
		{"request line", "GET /" + strings.Repeat("y", testHead), ErrRequestLineLength},
		{"as many fields as may be", line + strings.Repeat(field, testFields-1) + "\r\n", nil},
		{"one field more", line + strings.Repeat(field, testFields) + "\r\n", ErrFieldCount},
		{"trailers", chunked("0\r\nx: " + strings.Repeat("y", testHead)), ErrHeadLength},
		{"trailer count", chunked("0\r\n" + strings.Repeat(field, testFields+1) + "\r\n"), ErrFieldCount},
		{"chunk extension", chunked("1;" + strings.Repeat("y", 5000)), ErrChunkExtension},
		{"chunk extensions", chunked(strings.Repeat("1;yyyyyyyyyyyyy\r\nx\r\n", 500)), ErrChunkExtension},
		{"nominated", line + "connection: " + strings.Repeat("a,", 16) + "\r\n\r\n", nil},
		{"too many nominated", line + "connection: " + strings.Repeat("a,", 17) + "\r\n\r\n", ErrConnection},
		{"too many Connection", line + strings.Repeat("connection: a\r\n", 5) + "\r\n", ErrConnection},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := read([]byte(tt.stream), nil)
			if tt.err == nil && err != nil || tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
		})
	}
}

const browser = "GET /app/index.html?lang=en HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml;q=0.9\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: session=0123456789abcdef0123456789abcdef\r\nConnection: keep-alive\r\n\r\n"

const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 100\r\nServer: backend\r\n\r\n"

// hop is what the codec does for one exchange through a proxy.
func hop(buf, out []byte, req *message.Request, resp *message.Response) error {
	req.Reset()
	resp.Reset()
	var f Finder
	n, err := f.Find(buf[:copy(buf, browser)], 60<<10)
	if err != nil {
		return err
	}
	if _, err = ParseRequest(buf[:n], 100, req); err != nil {
		return err
	}
	if _, _, err = AppendRequest(out, req, 0); err != nil {
		return err
	}
	f = Finder{}
	if n, err = f.Find(buf[:copy(buf, answer)], 60<<10); err != nil {
		return err
	}
	framing, err := ParseResponse(buf[:n], 100, get, resp)
	if err != nil {
		return err
	}
	_, _, err = AppendResponse(out, resp, framing.Length, get, false)
	return err
}

func TestNoAllocations(t *testing.T) {
	buf, out := make([]byte, 4096), make([]byte, 0, 4096)
	var req message.Request
	var resp message.Response
	var chunks Chunks
	body := []byte("3;a=b\r\n")
	if n := testing.AllocsPerRun(100, func() {
		if err := hop(buf, out, &req, &resp); err != nil {
			t.Error(err)
		}
		chunks = Chunks{}
		if _, err := chunks.Next(body); err != nil {
			t.Error(err)
		}
		if _, err := AppendTrailers(AppendChunk(out, 10), nil); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHop(b *testing.B) {
	buf, out := make([]byte, 4096), make([]byte, 0, 4096)
	var req message.Request
	var resp message.Response
	b.ReportAllocs()
	for b.Loop() {
		if err := hop(buf, out, &req, &resp); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleError() {
	fmt.Println(ErrHeadLength)
	// Output: http1: head_length (431)
}
