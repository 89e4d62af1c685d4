package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// growth is how much more memory the whole process may hold while it is attacked, the attacker's own among it.
const growth = 96 << 20

// bounded runs f, and fails if memory grows beyond all proportion meanwhile.
func bounded(t *testing.T, f func()) {
	t.Helper()
	held := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	runtime.GC()
	before, most := held(), uint64(0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for running := true; running; {
		began := time.Now()
		most = max(most, held())
		select {
		case <-time.After(5*time.Millisecond + 10*time.Since(began)): // looking stops everybody, which takes long on a busy machine
		case <-done:
			running = false
		}
	}
	if most > before+growth {
		t.Errorf("memory went from %d to %d MiB", before>>20, most>>20)
	}
}

// batch gathers frames, so that a flood is not slowed by its own system calls.
type batch struct {
	bytes.Buffer
	*http2.Framer
}

func newBatch() *batch {
	b := &batch{}
	b.Framer = http2.NewFramer(&b.Buffer, nil)
	b.AllowIllegalWrites = true
	return b
}

// flood writes what more makes, again and again, until the connection takes no more. It gives the code with which it was closed.
func (r *raw2) flood(rounds int, more func(b *batch)) string {
	code := make(chan string, 1)
	go func() { code <- r.closed() }()
	b := newBatch()
	for range rounds {
		b.Reset()
		for range 64 {
			more(b)
		}
		if _, err := r.conn.Write(b.Bytes()); err != nil {
			break
		}
	}
	if c, ok := r.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	return <-code
}

// Each flood is cut off and counted, costs no memory to speak of, and nobody else notices.
func TestFloods(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain"}}, cluster("web", "", b.addr()))
	const rounds = 4000 // of 64 each: enough for every bound, and few enough for one that would not be there
	headers := func(r *raw2, b *batch, end bool, fields []string) uint32 {
		id := r.next
		r.next += 2
		_ = b.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.encode(fields), EndStream: end, EndHeaders: true})
		return id
	}
	floods := []struct {
		name, kind string
		begin      func(r *raw2)
		more       func(r *raw2, b *batch)
	}{
		{name: "rapid reset", kind: "reset", more: func(r *raw2, b *batch) {
			_ = b.WriteRSTStream(headers(r, b, true, get("/rapid")), http2.ErrCodeCancel)
		}},
		{name: "rapid reset of bodies", kind: "reset", more: func(r *raw2, b *batch) {
			id := headers(r, b, false, post("/rapid"))
			_ = b.WriteData(id, false, []byte("a"))
			_ = b.WriteRSTStream(id, http2.ErrCodeCancel)
		}},
		{name: "continuation", kind: "continuation", begin: func(r *raw2) {
			_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.encode(get("/continued"))})
		}, more: func(r *raw2, b *batch) {
			_ = b.WriteContinuation(1, false, r.encode([]string{"x", strings.Repeat("a", 2000)}))
		}},
		{name: "continuation of nothing", kind: "continuation", begin: func(r *raw2) {
			_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.encode(get("/continued"))})
		}, more: func(_ *raw2, b *batch) { _ = b.WriteContinuation(1, false, nil) }},
		{name: "settings", kind: "control", more: func(_ *raw2, b *batch) {
			_ = b.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
		}},
		{name: "settings of table sizes", kind: "control", more: func(_ *raw2, b *batch) {
			_ = b.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1 << 31})
		}},
		{name: "acknowledgements", kind: "control", more: func(_ *raw2, b *batch) { _ = b.WriteSettingsAck() }},
		{name: "ping", kind: "control", more: func(_ *raw2, b *batch) { _ = b.WritePing(false, [8]byte{1}) }},
		{name: "pong", kind: "control", more: func(_ *raw2, b *batch) { _ = b.WritePing(true, [8]byte{1}) }},
		{name: "priority", kind: "control", more: func(_ *raw2, b *batch) { _ = b.WritePriority(1, http2.PriorityParam{Weight: 1}) }},
		{name: "windows", kind: "control", more: func(_ *raw2, b *batch) { _ = b.WriteWindowUpdate(0, 1) }},
		{name: "unknown frames", kind: "control", more: func(_ *raw2, b *batch) { _ = b.WriteRawFrame(0xfa, 0, 0, []byte("x")) }},
		{name: "empty data", kind: "control", begin: func(r *raw2) { r.open(false, post("/empty")) }, more: func(_ *raw2, b *batch) { _ = b.WriteData(1, false, nil) }},
		{name: "padding alone", kind: "control", begin: func(r *raw2) { r.open(false, post("/empty")) }, more: func(_ *raw2, b *batch) { _ = b.WriteDataPadded(1, false, nil, make([]byte, 200)) }},
		{name: "made you reset, by windows", kind: "reset", more: func(r *raw2, b *batch) { _ = b.WriteWindowUpdate(headers(r, b, false, post("/made")), 0) }},
		{name: "made you reset, by window overflow", kind: "reset", more: func(r *raw2, b *batch) {
			_ = b.WriteWindowUpdate(headers(r, b, false, post("/made")), 1<<31-1)
		}},
		{name: "made you reset, by a body too long", kind: "reset", more: func(r *raw2, b *batch) {
			_ = b.WriteData(headers(r, b, false, post("/made", "content-length", "1")), true, []byte("ab"))
		}},
		{name: "made you reset, by malformed requests", kind: "reset", more: func(r *raw2, b *batch) { headers(r, b, true, get("/made", "connection", "close")) }},
		{name: "made you reset, by trailers", kind: "reset", more: func(r *raw2, b *batch) {
			_ = b.WriteHeaders(http2.HeadersFrameParam{StreamID: headers(r, b, false, post("/made")), BlockFragment: r.encode([]string{":path", "/"}), EndStream: true, EndHeaders: true})
		}},
	}
	for _, c := range floods {
		t.Run(c.name, func(t *testing.T) {
			other := e.http2(t, "plain")
			if got := other.await(other.open(true, get("/works"))); got != "200" {
				t.Fatal(got)
			}
			count := func() int { // with many streams at a time it may be what is refused, or comes for it, that is too much
				if c.kind == "reset" {
					return e.stat(t, "floods_total{")
				}
				return e.stat(t, fmt.Sprintf("floods_total{kind=%q}", c.kind))
			}
			before, broken := count(), e.stat(t, "protocol_errors_total")
			bounded(t, func() {
				r := e.http2(t, "plain")
				r.settle()
				if c.begin != nil {
					c.begin(r)
				}
				code := r.flood(rounds, func(b *batch) { c.more(r, b) })
				if code != "ENHANCE_YOUR_CALM" && code != "" { // a reset may have thrown it away
					t.Errorf("closed with %s", code)
				}
				e.works(t, "plain", "/works")
			})
			eventually(t, "the flood is counted", func() bool { return count() == before+1 && e.stat(t, "protocol_errors_total") == broken+1 })
			if got := other.await(other.open(true, get("/works"))); got != "200" {
				t.Errorf("another client's connection: %s", got)
			}
		})
	}
	eventually(t, "no request is left", func() bool { return e.stat(t, "weft_proxy_requests_active") == 0 })
	eventually(t, "each is in the access log", func() bool {
		n := 0
		for _, l := range e.lines(t) {
			if d, _ := l["details"].(string); strings.HasPrefix(d, "http2.") {
				n++
			}
		}
		return n == len(floods)
	})
}

// A header block that is small where it travels and large where it arrives is refused, and the connection goes on.
func TestHeaderBomb(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain"}}, cluster("web", "", b.addr()))
	bounded(t, func() {
		r := e.http2(t, "plain")
		// One field of 4 KB in the dynamic table, and then a reference to it in each byte.
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		for i := 0; i < 8; i += 2 {
			f := get("/bomb")
			_ = enc.WriteField(hpack.HeaderField{Name: f[i], Value: f[i+1]})
		}
		_ = enc.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("a", 3900)})
		head := bytes.Clone(block.Bytes())
		for i := range 50 {
			bomb := append(bytes.Clone(head), bytes.Repeat([]byte{0x80 | 62}, 10<<10)...)
			id := uint32(2*i + 1)
			if err := r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: bomb, EndStream: true, EndHeaders: true}); err != nil {
				t.Error(err)
				return
			}
			if got := r.await(id); got != "431" {
				t.Errorf("answered with %s", got)
				return
			}
		}
	})
	if all, _ := b.requests(); len(all) > 0 {
		t.Errorf("the endpoint saw %v", all[0])
	}
	e.works(t, "plain", "/works")
}

// Clients that ask for much and leave no room for it, over both versions, hold little memory, and are cut off when they had their time.
func TestStalledReaders(t *testing.T) {
	const size = 4 << 20
	b := listen(t, func(c net.Conn, r *received) bool {
		if r.URL.Path != "/large" {
			return fine(c, r)
		}
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", size); err != nil {
			return false
		}
		_, err := io.CopyN(c, zeros{}, size)
		return err == nil
	}, nil)
	breakers := "circuit_breakers: {thresholds: [{max_connections: 10000, max_requests: 10000, max_pending_requests: 10000}]}"
	e := start(t, []listener{{name: "plain", options: "stream_idle_timeout: 10s"}, {name: "tls", tls: true, options: "stream_idle_timeout: 10s"}}, cluster("web", breakers, b.addr()))
	bounded(t, func() {
		var h2 []*raw2
		for range 4 {
			r := e.http2(t, "plain", http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			h2 = append(h2, r)
			for range 50 {
				r.open(true, get("/large", "x-from", "stalled streams"))
			}
		}
		for range 4 { // windows of streams, and none of the connection's
			r := e.http2(t, "plain", http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			for range 50 {
				r.open(true, get("/large", "x-from", "a stalled connection"))
			}
		}
		for range 50 {
			_, _ = io.WriteString(e.dial(t, "plain"), "GET /large HTTP/1.1\r\nhost: h\r\nx-from: plain\r\n\r\n")
			_, _ = io.WriteString(e.dialTLS(t, "tls", "http/1.1"), "GET /large HTTP/1.1\r\nhost: h\r\nx-from: tls\r\n\r\n")
		}
		seen := map[string]int{}
		if !within(patience, func() bool {
			all, _ := b.requests()
			clear(seen)
			for _, r := range all {
				seen[r.Header.Get("x-from")]++
			}
			return len(all) >= 500
		}) {
			t.Fatalf("of 200, 200, 50 and 50 requests the endpoint saw %v; %v are being served", seen, e.stat(t, "weft_proxy_requests_active"))
		}
		e.works(t, "plain", "/works")
		if got := h2[0].await(1); got != "RST_STREAM CANCEL" && got != "RST_STREAM INTERNAL_ERROR" {
			t.Errorf("a stalled stream ended with %s", got)
		}
		eventually(t, "all are cut off", func() bool { return e.stat(t, "weft_proxy_requests_active") == 0 })
	})
	e.works(t, "plain", "/works")
}

// zeros is bytes without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// What a client asks for beyond what it may have at once is refused, and the rest goes on.
func TestTooManyStreams(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain", options: "http2_protocol_options: {max_concurrent_streams: 10}"}}, cluster("web", "", b.addr()))
	r := e.http2(t, "plain")
	if got := r.await(r.open(true, get("/works"))); got != "200" {
		t.Fatal(got)
	}
	var waiting []uint32
	for range 10 {
		waiting = append(waiting, r.open(false, post("/waiting")))
	}
	if got := r.await(r.open(true, get("/more"))); got != "RST_STREAM REFUSED_STREAM" {
		t.Errorf("one more: %s", got)
	}
	for _, id := range waiting {
		_ = r.WriteData(id, true, binary.BigEndian.AppendUint32(nil, id))
		if got := r.await(id); got != "200" {
			t.Errorf("stream %d: %s", id, got)
		}
	}
	if got := r.await(r.open(true, get("/more"))); got != "200" {
		t.Errorf("and now: %s", got)
	}
}
