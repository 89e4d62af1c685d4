package hostile

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An endpoint that breaks HTTP/2 costs the requests that it was given, and the next go on, on a connection that is good.
func TestHostileHTTP2Endpoints(t *testing.T) {
	head := func(fields ...string) []byte {
		var b bytes.Buffer
		enc := hpack.NewEncoder(&b)
		for i := 0; i < len(fields); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return b.Bytes()
	}
	reply := func(f *http2.Framer, id uint32, end bool, fields ...string) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head(fields...), EndStream: end, EndHeaders: true})
	}
	cases := []struct {
		name string
		do   func(f *http2.Framer, id uint32)
		want string
	}{
		{"fine", func(f *http2.Framer, id uint32) { reply(f, id, true, ":status", "200") }, "200"},
		{"no status", func(f *http2.Framer, id uint32) { reply(f, id, true, "x", "y") }, "50x"},
		{"status that is none", func(f *http2.Framer, id uint32) { reply(f, id, true, ":status", "2 0") }, "50x"},
		{"status 101", func(f *http2.Framer, id uint32) { reply(f, id, true, ":status", "101") }, "50x"},
		{"request's fields", func(f *http2.Framer, id uint32) { reply(f, id, true, ":status", "200", ":path", "/") }, "50x"},
		{"two lengths", func(f *http2.Framer, id uint32) {
			reply(f, id, false, ":status", "200", "content-length", "1", "content-length", "2")
		}, "50x"},
		{"transfer-encoding", func(f *http2.Framer, id uint32) {
			reply(f, id, false, ":status", "200", "transfer-encoding", "chunked")
		}, "50x"},
		{"a line in a value", func(f *http2.Framer, id uint32) { reply(f, id, true, ":status", "200", "x", "a\r\nset-cookie: b") }, "50x"},
		{"a line in a name", func(f *http2.Framer, id uint32) { reply(f, id, true, ":status", "200", "x\r\nset-cookie", "a") }, "50x"},
		{"a body too long", func(f *http2.Framer, id uint32) {
			reply(f, id, false, ":status", "200", "content-length", "1")
			_ = f.WriteData(id, true, []byte("too long"))
		}, "50x|cut"},
		{"a body too short", func(f *http2.Framer, id uint32) {
			reply(f, id, false, ":status", "200", "content-length", "9")
			_ = f.WriteData(id, true, []byte("short"))
		}, "50x|cut"},
		{"a flood of 103", func(f *http2.Framer, id uint32) {
			for range 5000 {
				reply(f, id, false, ":status", "103", "link", "</a>")
			}
		}, "50x"},
		{"headers without an end", func(f *http2.Framer, id uint32) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head(":status", "200")})
			for range 5000 {
				if f.WriteContinuation(id, false, head("x", strings.Repeat("a", 1000))) != nil {
					return
				}
			}
		}, "50x"},
		{"too many fields", func(f *http2.Framer, id uint32) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head(":status", "200")})
			for range 99 {
				_ = f.WriteContinuation(id, false, head("x", strings.Repeat("a", 1000)))
			}
			_ = f.WriteContinuation(id, true, nil)
		}, "50x"},
		{"a push", func(f *http2.Framer, id uint32) {
			_ = f.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, BlockFragment: head(":method", "GET"), EndHeaders: true})
		}, "50x"},
		{"a flood of pings", func(f *http2.Framer, _ uint32) {
			for range 100000 {
				if f.WritePing(false, [8]byte{}) != nil {
					return
				}
			}
		}, "50x"},
		{"an answer to nobody", func(f *http2.Framer, id uint32) { reply(f, id+2, true, ":status", "200") }, "50x"},
		{"garbage", func(f *http2.Framer, _ uint32) { _ = f.WriteRawFrame(0, 0, 0, []byte("garbage")) }, "50x"},
		{"refused", func(f *http2.Framer, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, "50x"},
		{"goaway", func(f *http2.Framer, id uint32) {
			_ = f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, bytes.Repeat([]byte("x"), 1000))
		}, "50x"},
	}
	var mu sync.Mutex
	current := cases[0]
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	serve := func(c net.Conn) {
		defer func() { _ = c.Close() }()
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(c, c)
		f.AllowIllegalWrites = true
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					_ = f.WriteSettingsAck()
				}
			case *http2.MetaHeadersFrame:
				if frame.PseudoValue("path") != "/bad" {
					reply(f, frame.StreamID, true, ":status", "200")
					continue
				}
				mu.Lock()
				do := current.do
				mu.Unlock()
				do(f, frame.StreamID)
			}
		}
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	e := start(t, []listener{{name: "plain", routes: `{match: {prefix: /}, route: {cluster: web, timeout: 5s}}`}}, cluster("web", overHTTP2, ln.Addr().String()))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mu.Lock()
			current = c
			mu.Unlock()
			bounded(t, func() {
				got := ask(t, e, "plain", "GET", "/bad", "")
				switch {
				case c.want == "200" && got == "200 0":
				case strings.Contains(c.want, "50x") && (got == "502" || got == "503"):
				case strings.Contains(c.want, "cut") && (got == "200 cut" || got == io.ErrUnexpectedEOF.Error()):
				default:
					t.Errorf("answered with %s, want %s", got, c.want)
				}
				// One that shares the connection which is cut off for a flood may fail with it.
				failed := 0
				for i := range 4 {
					switch got := ask(t, e, "plain", "GET", fmt.Sprintf("/next/%d", i), ""); got {
					case "200 0":
					case "503":
						failed++
					default:
						t.Errorf("the next: %s", got)
					}
				}
				if failed > 1 || failed > 0 && !strings.Contains(c.name, "flood") {
					t.Errorf("%d of the next failed", failed)
				}
			})
		})
	}
}
