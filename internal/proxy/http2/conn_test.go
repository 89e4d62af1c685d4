package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// peer is a client that does what it likes: frames from Go's framer into a server's state machine.
type peer struct {
	*http2.Framer
	c     *Conn
	now   int64
	sent  bytes.Buffer
	block bytes.Buffer
	enc   *hpack.Encoder
	heads []*Stream
	body  int
	resets,
	ends int
}

func newPeer() *peer {
	p := &peer{}
	p.c = NewConn(Config{Server: true, MaxConcurrentStreams: 100, MaxHeaderListBytes: 8 << 10, ExtendedConnect: true, New: func() *Stream { return &Stream{} }})
	p.Framer = http2.NewFramer(&p.sent, nil)
	p.Framer.AllowIllegalWrites = true
	p.enc = hpack.NewEncoder(&p.block)
	p.sent.WriteString(Preface)
	p.WriteSettings()
	p.WriteSettingsAck()
	return p
}

// fields encodes a block.
func (p *peer) fields(nameValues ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(nameValues); i += 2 {
		p.enc.WriteField(hpack.HeaderField{Name: nameValues[i], Value: nameValues[i+1]})
	}
	return bytes.Clone(p.block.Bytes())
}

func (p *peer) get(id uint32, end bool, more ...string) {
	block := p.fields(append([]string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"}, more...)...)
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: true})
}

// run gives the server what was written so far, a few bytes at a time.
func (p *peer) run() *ConnError {
	in := p.sent.Bytes()
	defer p.sent.Reset()
	for have := 0; ; {
		n, ev, err := p.c.Receive(p.now, in[:have])
		if err != nil {
			return err
		}
		in, have = in[n:], have-n
		switch ev.Kind {
		case EventHead:
			p.heads = append(p.heads, ev.Stream)
		case EventData:
			p.body += len(ev.Data)
			if !ev.Stream.Closed() {
				p.c.Consumed(ev.Stream, len(ev.Data))
			} else {
				p.c.Consumed(nil, len(ev.Data))
			}
		case EventReset:
			p.resets++
		}
		if ev.End {
			p.ends++
		}
		if n == 0 {
			if have == len(in) {
				return nil
			}
			have = min(len(in), have+1+len(in)/50)
		}
	}
}

// answers are the frames that the server sent.
func (p *peer) answers() (out []string) {
	r := http2.NewFramer(nil, bytes.NewReader(p.c.Swap(nil)))
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return out
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			out = append(out, fmt.Sprintf("RST_STREAM %d %s", f.StreamID, f.ErrCode))
		case *http2.GoAwayFrame:
			out = append(out, fmt.Sprintf("GOAWAY %d %s", f.LastStreamID, f.ErrCode))
		case *http2.HeadersFrame:
			out = append(out, fmt.Sprintf("HEADERS %d", f.StreamID))
		case *http2.WindowUpdateFrame:
			out = append(out, fmt.Sprintf("WINDOW_UPDATE %d %d", f.StreamID, f.Increment))
		case *http2.PingFrame:
			out = append(out, "PING")
		}
	}
}

// Each flood is cut off with ENHANCE_YOUR_CALM and named; what is like it and honest is not.
func TestFloods(t *testing.T) {
	const many = 20000
	for _, test := range []struct {
		name string
		kind Flood
		do   func(p *peer, i int)
	}{
		{"rapid reset", RapidReset, func(p *peer, i int) {
			p.get(uint32(2*i+1), true)
			p.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
		}},
		{"requests that are malformed", ProvokedReset, func(p *peer, i int) { p.get(uint32(2*i+1), true, "connection", "close") }},
		{"resets provoked by windows", ProvokedReset, func(p *peer, i int) {
			p.get(uint32(2*i+1), true)
			p.WriteWindowUpdate(uint32(2*i+1), 0)
		}},
		{"resets provoked by DATA", ProvokedReset, func(p *peer, i int) {
			p.get(uint32(2*i+1), true)
			p.WriteData(uint32(2*i+1), true, nil)
		}},
		{"more streams than were offered", ProvokedReset, func(p *peer, i int) { p.get(uint32(2*i+1), true) }},
		{"CONTINUATION, full", Continuation, func(p *peer, i int) {
			if i == 0 {
				p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			}
			p.WriteContinuation(1, false, bytes.Repeat([]byte{0x82}, 1000))
		}},
		{"CONTINUATION, empty", Continuation, func(p *peer, i int) {
			if i == 0 {
				p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			}
			p.WriteContinuation(1, false, nil)
		}},
		{"SETTINGS", Control, func(p *peer, _ int) { p.WriteSettings() }},
		{"PING", Control, func(p *peer, _ int) { p.WritePing(false, [8]byte{}) }},
		{"PRIORITY", Control, func(p *peer, i int) { p.WritePriority(uint32(2*i+1), http2.PriorityParam{}) }},
		{"WINDOW_UPDATE", Control, func(p *peer, _ int) { p.WriteWindowUpdate(0, 1) }},
		{"unknown frames", Control, func(p *peer, _ int) { p.WriteRawFrame(0x77, 0, 0, nil) }},
		{"empty DATA", Control, func(p *peer, i int) {
			if i == 0 {
				p.get(1, false)
			}
			p.WriteData(1, false, nil)
		}},
		{"padding", Control, func(p *peer, i int) {
			if i == 0 {
				p.get(1, false)
			}
			p.WriteDataPadded(1, false, nil, make([]byte, 10))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer()
			for i := range many {
				test.do(p, i)
				err := p.run()
				if i%100 == 0 && err == nil {
					p.c.Swap(nil)
				}
				if err == nil {
					continue
				}
				if err.Code != EnhanceYourCalm || err.Flood != test.kind {
					t.Fatalf("%d: %v", i, err)
				}
				if a := p.answers(); !strings.HasPrefix(a[len(a)-1], "GOAWAY") || !strings.HasSuffix(a[len(a)-1], "ENHANCE_YOUR_CALM") {
					t.Fatalf("answers %v", a)
				}
				t.Logf("after %d", i)
				return
			}
			t.Error("it goes on")
		})
	}
	t.Run("answers that nobody reads", func(t *testing.T) {
		p := newPeer()
		for i := range many {
			p.now += 1e9 // slow enough for everything else
			p.WritePing(false, [8]byte{})
			if err := p.run(); err != nil {
				if err.Flood != Unread {
					t.Fatal(err)
				}
				t.Logf("after %d", i)
				return
			}
		}
		t.Error("it goes on")
	})
}

// A busy client that cancels some of its requests, pings for every body and updates its windows often is no flood.
func TestBusyIsNoFlood(t *testing.T) {
	p := newPeer()
	id := uint32(1)
	ok := message.Response{Status: 200}
	for i := range 20000 {
		p.now += 50_000 // 20,000 a second
		p.get(id, i%2 == 0)
		if i%2 == 1 {
			p.WriteData(id, true, []byte("hello"))
			p.WritePing(false, [8]byte{})
		}
		p.WriteWindowUpdate(0, 1000)
		if i%3 == 0 {
			p.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		if err := p.run(); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		s := p.heads[0]
		p.heads = p.heads[:0]
		p.c.Respond(s, &ok, message.NoBody)
		p.c.Swap(nil)
		id += 2
	}
	if p.c.Open() != 0 {
		t.Errorf("%d streams are open", p.c.Open())
	}
}

// What a request must be (RFC 9113 section 8): malformed ones are refused, and the connection goes on.
func TestRequests(t *testing.T) {
	usual := []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"}
	with := func(more ...string) []string { return append(append([]string(nil), usual...), more...) }
	for _, test := range []struct {
		name   string
		fields []string
		ok     bool
	}{
		{"usual", usual, true},
		{"te: trailers", with("te", "trailers"), true},
		{"host as authority", []string{":method", "GET", ":scheme", "http", ":path", "/", "host", "b"}, true},
		{"host equal", with("host", "A"), true},
		{"OPTIONS *", []string{":method", "OPTIONS", ":scheme", "http", ":authority", "a", ":path", "*"}, true},
		{"CONNECT", []string{":method", "CONNECT", ":authority", "a:1"}, true},
		{"extended CONNECT", []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a", ":path", "/"}, true},
		{"UTF-8 in a value", with("x", "größe"), true},
		{"host differs", with("host", "b"), false},
		{"two hosts", with("host", "a", "host", "a"), false},
		{"capitals", with("X-A", "b"), false},
		{"empty name", with("", "b"), false},
		{"connection", with("connection", "close"), false},
		{"keep-alive", with("keep-alive", "1"), false},
		{"proxy-connection", with("proxy-connection", "close"), false},
		{"transfer-encoding", with("transfer-encoding", "chunked"), false},
		{"upgrade", with("upgrade", "h2c"), false},
		{"te", with("te", "gzip"), false},
		{"line feed in a value", with("x", "a\nb"), false},
		{"NUL in a value", with("x", "a\x00b"), false},
		{"blank before a value", with("x", " a"), false},
		{"space in a name", with("x y", "a"), false},
		{"colon in a name", with("x:y", "a"), false},
		{"unknown pseudo-header", with(":x", "a"), false},
		{"pseudo-header last", []string{":method", "GET", ":scheme", "http", ":authority", "a", "x", "y", ":path", "/"}, false},
		{"two paths", with(":path", "/"), false},
		{"status", with(":status", "200"), false},
		{"no path", usual[:6], false},
		{"empty path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", ""}, false},
		{"relative path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "x"}, false},
		{"space in the path", []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/ HTTP/1.1"}, false},
		{"user information", []string{":method", "GET", ":scheme", "http", ":authority", "u@a", ":path", "/"}, false},
		{"another scheme", []string{":method", "GET", ":scheme", "ftp", ":authority", "a", ":path", "/"}, false},
		{"method", []string{":method", "G T", ":scheme", "http", ":authority", "a", ":path", "/"}, false},
		{"content-length without a body", with("content-length", "3"), false},
		{"content-length no number", with("content-length", "+0"), false},
		{"two content-lengths", with("content-length", "0", "content-length", "0"), false},
		{"CONNECT with a path", []string{":method", "CONNECT", ":authority", "a:1", ":path", "/"}, false},
		{"GET with :protocol", with(":protocol", "websocket"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer()
			p.run()
			p.answers()
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields(test.fields...), EndStream: true, EndHeaders: true})
			p.get(3, true)
			if err := p.run(); err != nil {
				t.Fatal(err)
			}
			want, answers := 1, p.answers()
			if test.ok {
				want = 2
				checkRequest(t, p.heads[0])
			} else if len(answers) != 1 || answers[0] != "RST_STREAM 1 PROTOCOL_ERROR" {
				t.Errorf("answers %v", answers)
			}
			if len(p.heads) != want {
				t.Errorf("%d requests, want %d", len(p.heads), want)
			}
		})
	}
}

func TestCookiesAreJoined(t *testing.T) {
	p := newPeer()
	p.get(1, true, "cookie", "a=b", "x", "y", "cookie", "c=d", "cookie", "e=f")
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	if v, _ := p.heads[0].Request.Fields.Get("cookie"); v != "a=b; c=d; e=f" || p.heads[0].Request.Fields.Len() != 2 {
		t.Errorf("%v", p.heads[0].Request.Fields.All())
	}
}

// Too many fields are answered with 431, whatever they weigh on the wire, and the tables stay in step.
func TestTooLarge(t *testing.T) {
	p := newPeer()
	p.run()
	p.answers()
	p.get(1, true, "x-large", strings.Repeat("v", 9000))
	more := []string{}
	for i := range 300 {
		more = append(more, fmt.Sprint("x-", i), "v")
	}
	p.get(3, false, more...)
	p.get(5, true, "x-small", "v")
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	if len(p.heads) != 1 || p.heads[0].Request.Fields.Len() != 1 {
		t.Errorf("%d requests", len(p.heads))
	}
	if got := fmt.Sprint(p.answers()); got != "[HEADERS 1 HEADERS 3 RST_STREAM 3 NO_ERROR]" {
		t.Error(got)
	}
}

// The body is as long as content-length says, and the windows hold.
func TestBodies(t *testing.T) {
	for _, test := range []struct {
		name    string
		do      func(p *peer)
		answers string
	}{
		{"exact", func(p *peer) { p.WriteData(1, false, []byte("abc")); p.WriteData(1, true, []byte("de")) }, "[]"},
		{"padded", func(p *peer) {
			p.WriteDataPadded(1, false, []byte("abc"), make([]byte, 200))
			p.WriteDataPadded(1, true, []byte("de"), make([]byte, 3))
		}, "[]"},
		{"short", func(p *peer) { p.WriteData(1, true, []byte("abc")) }, "[RST_STREAM 1 PROTOCOL_ERROR]"},
		{"one too many", func(p *peer) { p.WriteData(1, false, []byte("abcde")); p.WriteData(1, false, []byte("f")) }, "[RST_STREAM 1 PROTOCOL_ERROR]"},
		{"short with trailers", func(p *peer) {
			p.WriteData(1, false, []byte("abc"))
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields("x", "y"), EndStream: true, EndHeaders: true})
		}, "[RST_STREAM 1 PROTOCOL_ERROR]"},
		{"trailers that do not end", func(p *peer) {
			p.WriteData(1, false, []byte("abcde"))
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields("x", "y"), EndHeaders: true})
		}, "[RST_STREAM 1 PROTOCOL_ERROR]"},
		{"pseudo-header in trailers", func(p *peer) {
			p.WriteData(1, false, []byte("abcde"))
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields(":path", "y"), EndStream: true, EndHeaders: true})
		}, "[RST_STREAM 1 PROTOCOL_ERROR]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer()
			p.run()
			p.answers()
			p.get(1, false, "content-length", "5")
			test.do(p)
			if err := p.run(); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(p.answers()); got != test.answers {
				t.Errorf("answers %s, want %s", got, test.answers)
			}
			if want := len("abcde"); test.answers == "[]" && (p.body != want || p.ends != 1) {
				t.Errorf("%d bytes, %d ends", p.body, p.ends)
			}
		})
	}
}

// FuzzFrames gives a connection bytes that a fuzzer makes up: no panic, and what it holds is bounded.
func FuzzFrames(f *testing.F) {
	p := newPeer()
	p.get(1, false, "content-length", "5")
	p.WriteDataPadded(1, false, []byte("abc"), make([]byte, 20))
	p.WriteWindowUpdate(1, 100)
	p.WritePing(false, [8]byte{1})
	p.WriteData(1, true, []byte("de"))
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte{0x82}})
	p.WriteContinuation(3, true, p.fields(":scheme", "http"))
	p.WriteRSTStream(3, http2.ErrCodeCancel)
	p.WritePriority(5, http2.PriorityParam{StreamDep: 1})
	p.WriteGoAway(0, 0, nil)
	f.Add(true, p.sent.Bytes()[len(Preface):])
	f.Add(false, p.sent.Bytes()[len(Preface):])
	f.Fuzz(func(t *testing.T, server bool, data []byte) {
		c := NewConn(Config{Server: server, MaxConcurrentStreams: 10, MaxHeaderListBytes: 4 << 10, New: func() *Stream { return &Stream{} }})
		var streams []*Stream
		if server {
			c.Receive(1, []byte(Preface))
		} else {
			for range 3 {
				s := &Stream{}
				c.Start(s, &message.Request{Method: "GET", Scheme: "http", Path: "/"}, message.Unknown)
				streams = append(streams, s)
			}
		}
		response := message.Response{Status: 200}
		for len(data) > 0 {
			n, ev, err := c.Receive(1, data)
			if err != nil || n == 0 {
				break
			}
			data = data[n:]
			if ev.Kind == EventHead && server {
				streams = append(streams, ev.Stream)
				c.Respond(ev.Stream, &response, message.Unknown)
			}
			if ev.Kind == EventData {
				c.Consumed(ev.Stream, len(ev.Data))
			}
			for _, s := range streams {
				c.Data(s, make([]byte, 100))
			}
			if len(streams) > 5 {
				c.End(streams[0], nil)
				c.Abort(streams[1], Cancel)
				streams = streams[2:]
			}
			if c.Open() > 10 || c.Pending() > 3*maxOutBytes || len(c.block.bytes) > 64<<10 {
				t.Fatalf("%d streams, %d bytes to be sent", c.Open(), c.Pending())
			}
		}
		c.End(&Stream{}, nil)
	})
}
