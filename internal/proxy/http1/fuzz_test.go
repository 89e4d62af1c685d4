package http1

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// What was read as a request is written as one that is read as the same, and nothing but one; in which pieces bytes come does not matter.
func FuzzRequest(f *testing.F) {
	for _, tt := range requests {
		f.Add([]byte(tt.stream))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 300 {
			return
		}
		samePieces(t, stream, nil)
		var finder Finder
		n, err := finder.Find(stream, testHead)
		if err != nil || n == 0 {
			return
		}
		var r message.Request
		framing, err := ParseRequest(slices.Clone(stream[:n]), testFields, &r)
		if err != nil {
			return
		}
		if r.Version == message.HTTP10 {
			r.Version = message.HTTP11 // what we write
		}
		if r.Authority == "" {
			r.Authority = "h"
		}
		want := tellRequest(&r)
		b, wrote, err := AppendRequest(nil, &r, framing.Length)
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		finder = Finder{}
		if n, err := finder.Find(b, 2*testHead); err != nil || n != len(b) {
			t.Fatalf("%q is a head of %d bytes, %v", b, n, err)
		}
		var again message.Request
		framing, err = ParseRequest(b, testFields+1, &again)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		// TE stands last, wherever it was.
		te := func(r *message.Request) {
			if _, ok := r.Fields.Get("te"); ok {
				r.Fields.Del("te")
				r.Fields.Add("te", "trailers")
			}
		}
		te(&r)
		te(&again)
		if d := cmp.Diff(tellRequest(&r), tellRequest(&again)); d != "" {
			t.Fatalf("%q: %s", b, d)
		}
		if framing.Length != wrote.Length || framing.Chunked != wrote.Chunked || framing.Bodiless != wrote.Bodiless {
			t.Fatalf("%q: framing %+v, wrote %+v", b, framing, wrote)
		}
	})
}

// The same for responses.
func FuzzResponse(f *testing.F) {
	for i, tt := range responses {
		f.Add([]byte(tt.stream), uint8(i))
	}
	f.Fuzz(func(t *testing.T, stream []byte, kind uint8) {
		asked := []Asked{get, {Method: "HEAD", Version: message.HTTP11}, {Method: "CONNECT", Version: message.HTTP11}, {Method: "GET", Protocol: "websocket", Version: message.HTTP11}}[kind%4]
		if len(stream) > 300 {
			return
		}
		samePieces(t, stream, &asked)
		var finder Finder
		n, err := finder.Find(stream, testHead)
		if err != nil || n == 0 {
			return
		}
		var r message.Response
		framing, err := ParseResponse(slices.Clone(stream[:n]), testFields, asked, &r)
		if err != nil {
			return
		}
		b, wrote, err := AppendResponse(nil, &r, framing.Length, asked, false)
		if err != nil {
			t.Fatalf("%d %s: %v", r.Status, tell(&r.Fields), err)
		}
		var again message.Response
		framing, err = ParseResponse(b, testFields, asked, &again)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if r.Status != again.Status || tell(&r.Fields) != tell(&again.Fields) {
			t.Fatalf("%q: %d %s", b, r.Status, tell(&r.Fields))
		}
		if framing.Chunked != wrote.Chunked || framing.Bodiless != wrote.Bodiless || framing.Tunnel != wrote.Tunnel {
			t.Fatalf("%q: framing %+v, wrote %+v", b, framing, wrote)
		}
	})
}

// A body is what it is in whatever pieces it comes, and what is written as chunks is read as that.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{"3\r\nabc\r\n0\r\n\r\n", "3;x=y\r\nabc\r\n00\r\na: b\r\n\r\nrest", "fffffffffffffff\r\n", "1\r\na\r\n\n"} {
		f.Add([]byte(s), uint16(3))
	}
	f.Fuzz(func(t *testing.T, body []byte, size uint16) {
		if len(body) > 300 {
			return
		}
		samePieces(t, append([]byte(chunked("")), body...), nil)
		b := []byte(chunked(""))
		for part := range slices.Chunk(body, int(size)+1) {
			b = append(append(AppendChunk(b, len(part)), part...), ChunkEnd...)
		}
		b, err := AppendTrailers(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := &conn{}
		c.feed(b)
		want := "POST h / HTTP/1.1"
		if len(body) > 0 {
			want += " body " + quote(body)
		}
		if c.err != nil || len(c.buf) > 0 || !cmp.Equal(c.out, []string{want}) {
			t.Fatalf("%q: %v, %q left, %q", b, c.err, c.buf, c.out)
		}
	})
}
