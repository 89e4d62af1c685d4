package http2

import (
	"slices"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// Config is what a connection is made with.
type Config struct {
	// Server: the peer opens the streams.
	Server bool
	// MaxConcurrentStreams is how many of them it may have open.
	MaxConcurrentStreams uint32
	// StreamWindowBytes and ConnectionWindowBytes are how much the peer may send before it was consumed, 65535 at least.
	StreamWindowBytes, ConnectionWindowBytes uint32
	// MaxHeaderListBytes bounds the fields of a message.
	MaxHeaderListBytes uint32
	// ExtendedConnect: a server takes requests with :protocol (RFC 8441).
	ExtendedConnect bool

	// New makes an empty stream for a request.
	New func() *Stream
	// Full tells that there is no room for another stream although the peer may have one. It may be nil.
	Full func() bool
}

// maxOutBytes is where Data takes no more: what is sent is bounded by what the peer reads.
const maxOutBytes = 128 << 10

// Conn is one side of a connection: what was agreed, the streams that are open, and what is to be sent.
type Conn struct {
	cfg    Config
	now    int64 // nanoseconds
	dec    *decoder
	enc    *encoder
	spare  *Stream // made for a request that turned out to be none
	open   streams
	lastID uint32 // the highest that the peer opened (server), or that we did (client)
	limit  uint32 // the highest that we take: lower once a server said goodbye
	ended  recent // streams that the peer ended
	reset  recent // streams that we reset: what was on its way then is ignored

	preface    int  // bytes of it that are still to come
	gotFirst   bool // SETTINGS of the peer
	settled    bool // it has acknowledged ours
	sendWindow int64
	recvWindow int64
	recvCredit int64
	peer       peerSettings
	goAway     bool // the peer takes no new streams

	data  dataFrame
	block pendingBlock

	out      []byte
	lastData int    // where in out the header of the latest DATA frame is, -1 if it is not there
	dataID   uint32 // whose it is

	control, resets, provoked allowance
}

// peerSettings is what the peer said of itself.
type peerSettings struct {
	maxStreams      uint32
	streamWindow    int64
	extendedConnect bool
}

// dataFrame is a DATA frame whose end has not come.
type dataFrame struct {
	stream    *Stream // nil: nobody wants it
	left, pad int
	end       bool
	active    bool
}

// pendingBlock is a field block whose end has not come: between HEADERS and the last CONTINUATION there is nothing else (section 6.10).
type pendingBlock struct {
	stream uint32 // 0: there is none
	end    bool
	wrong  string
	bytes  []byte
	frames int
}

// NewConn begins a connection: our preface is in its output.
func NewConn(cfg Config) *Conn {
	cfg.StreamWindowBytes = min(max(cfg.StreamWindowBytes, initialWindow), maxWindow)
	cfg.ConnectionWindowBytes = min(max(cfg.ConnectionWindowBytes, initialWindow), maxWindow)
	burst := max(200, 2*int64(cfg.MaxConcurrentStreams))
	c := &Conn{
		cfg:        cfg,
		dec:        newDecoder(int(cfg.MaxHeaderListBytes)),
		enc:        newEncoder(),
		limit:      maxWindow,
		sendWindow: initialWindow,
		recvWindow: int64(cfg.ConnectionWindowBytes),
		peer:       peerSettings{maxStreams: 100, streamWindow: initialWindow},
		lastData:   -1,
		control:    newAllowance(2000, 1000),
		resets:     newAllowance(burst, 50),
		provoked:   newAllowance(burst, 20),
	}
	settings := []setting{
		{settingInitialWindowSize, cfg.StreamWindowBytes},
		{settingMaxHeaderListSize, cfg.MaxHeaderListBytes},
	}
	if cfg.Server {
		c.preface = len(Preface)
		settings = append(settings, setting{settingMaxConcurrentStreams, cfg.MaxConcurrentStreams})
		if cfg.ExtendedConnect {
			settings = append(settings, setting{settingEnableConnectProtocol, 1})
		}
	} else {
		c.out = append(c.out, Preface...)
		settings = append(settings, setting{settingEnablePush, 0})
	}
	c.out = appendSettings(c.out, settings...)
	if more := cfg.ConnectionWindowBytes - initialWindow; more > 0 {
		c.out = appendWindowUpdate(c.out, 0, more)
	}
	return c
}

// Pending is how many bytes are to be sent.
func (c *Conn) Pending() int { return len(c.out) }

// Swap takes what is to be sent, and lets the connection use the memory of spare for what comes next.
func (c *Conn) Swap(spare []byte) []byte {
	out := c.out
	c.out, c.lastData = spare[:0], -1
	return out
}

// Open is how many streams are open.
func (c *Conn) Open() int { return c.open.n }

// Streams calls f with each stream that is open. f may end it.
func (c *Conn) Streams(f func(*Stream)) {
	for _, s := range c.open.all() {
		if s.open {
			f(s)
		}
	}
}

// LastID is the highest stream that was opened.
func (c *Conn) LastID() uint32 { return c.lastID }

// Began tells that the peer's first SETTINGS came.
func (c *Conn) Began() bool { return c.gotFirst }

// Settled tells that the peer knows our settings.
func (c *Conn) Settled() bool { return c.gotFirst && c.settled }

// MaxStreams is how many streams the peer lets a client have: 100 until it has said so.
func (c *Conn) MaxStreams() uint32 { return c.peer.maxStreams }

// ExtendedConnect tells whether the peer takes requests with :protocol.
func (c *Conn) ExtendedConnect() bool { return c.peer.extendedConnect }

// CanOpen tells whether a client may open another stream.
func (c *Conn) CanOpen() bool {
	return !c.goAway && uint32(c.open.n) < c.peer.maxStreams && c.lastID < maxWindow-2
}

// add makes a stream known.
func (c *Conn) add(s *Stream, id uint32) {
	s.id, s.open, s.opened = id, true, c.now
	s.sendWindow, s.recvWindow, s.recvLeft = c.peer.streamWindow, int64(c.cfg.StreamWindowBytes), -1
	c.lastID = id
	c.open.add(s)
}

// forget ends what the connection knows of a stream.
func (c *Conn) forget(s *Stream) {
	c.open.remove(s)
	s.open = false
	if s.remoteClosed {
		c.ended.add(s.id)
	}
	if c.data.stream == s {
		c.data.stream = nil
	}
}

// closeIfDone forgets a stream that ended on both sides as it should.
func (c *Conn) closeIfDone(s *Stream) {
	if s.open && s.localClosed && s.remoteClosed {
		c.forget(s)
		c.resets.earn(1)
		c.provoked.earn(1)
	}
}

// recent is the latest of some streams.
type recent struct {
	ids [32]uint32
	n   uint32
}

func (r *recent) add(id uint32) {
	r.ids[r.n%uint32(len(r.ids))] = id
	r.n++
}

func (r *recent) has(id uint32) bool { return slices.Contains(r.ids[:], id) }

// mayHave is has, but true as well when there were more than are remembered.
func (r *recent) mayHave(id uint32) bool { return r.n > uint32(len(r.ids)) || r.has(id) }

// idle tells whether nobody opened the stream yet. A stream of the side that opens none (there is no push) is always so.
func (c *Conn) idle(id uint32) bool { return id&1 == 0 || id > c.lastID }

// lengthOf is the length of a body as package message says it.
func lengthOf(contentLength int64, end bool) int64 {
	switch {
	case end:
		return message.NoBody
	case contentLength > 0:
		return contentLength
	}
	return message.Unknown
}
