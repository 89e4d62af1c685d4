package transport

import (
	"encoding/binary"
	"time"

	"github.com/weftmesh/weft/internal/proxy/http2"
)

// upkeep is what a connection does by the clock. Times are nanoseconds of conn.now; what happens often only notes them, and one timer looks at
// them when the first of them can be due.
type upkeep struct {
	timer      *time.Timer
	next       int64 // when it fires
	lastRead   int64
	lastActive int64 // a stream was given back
	writeSince int64 // a write has run since; 0: none
	pingSince  int64 // a ping is not answered since; 0: none
	drainSince int64 // the peer was asked to open no more streams; 0: no
	final      bool  // and what it opens now is not looked at
	peerErr    error // what it said when it left
}

// Pings that we send. Their answers tell them apart.
const (
	alivePing uint64 = 0x77656674_00000001
	drainPing uint64 = 0x77656674_00000002
)

// drainGrace is how long a peer may take to answer the ping behind the first GOAWAY: what it opened before it knew is here then.
const drainGrace = time.Second

func (c *conn) startTimer() {
	c.timer = time.AfterFunc(time.Hour, c.tick)
	c.schedule()
}

// schedule sets the timer to when something can be due.
func (c *conn) schedule() {
	if !c.ending {
		c.next = c.due()
		c.timer.Reset(time.Duration(c.next - c.now()))
	}
}

func (c *conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.schedule()
}

// idle notes that there are no streams.
func (c *conn) idle() {
	c.lastActive = c.now()
	first := freeFor
	if c.o.IdleTimeout > 0 {
		first = min(first, c.o.IdleTimeout)
	}
	if c.next > c.lastActive+int64(first) {
		c.schedule()
	}
	c.drained()
}

// due does what is due, and tells when that will be the case next.
func (c *conn) due() (next int64) {
	now := c.now()
	next = now + int64(time.Hour)
	at := func(since int64, d time.Duration) bool {
		if d <= 0 {
			return false
		}
		t := since + int64(d)
		if t > now {
			next = min(next, t)
		}
		return t <= now
	}
	o := &c.o
	if !c.h2.Settled() && at(0, o.SettingsTimeout) {
		c.say(http2.SettingsTimeout, true, "no SETTINGS, or no acknowledgement of them")
		c.end(&http2.ConnError{Code: http2.SettingsTimeout, Text: "no SETTINGS, or no acknowledgement of them"})
	}
	if c.active == 0 && len(c.free) > 0 && at(c.lastActive, freeFor) {
		c.free = nil
		if c.onQuiet != nil {
			c.onQuiet()
		}
	}
	if c.active == 0 && at(c.lastActive, o.IdleTimeout) {
		c.say(http2.NoError, true, "idle")
		c.end(nil)
	}
	if c.drainSince == 0 && at(0, o.MaxAge) {
		c.drain()
	}
	if c.drainSince != 0 {
		if !c.final && at(c.drainSince, drainGrace) {
			c.lastGoAway()
		}
		if at(c.drainSince, o.DrainTimeout) {
			c.end(nil)
		}
	}
	since := c.writeSince
	if since == 0 {
		since = now // look again then, in case that one begins
	}
	if at(since, o.StallTimeout) {
		c.end(&http2.ConnError{Code: http2.EnhanceYourCalm, Flood: http2.Unread, Text: "the peer takes no bytes"})
		c.nc.Close()
	}
	if o.PingInterval > 0 {
		if c.pingSince != 0 {
			if c.lastRead > c.pingSince {
				c.pingSince = 0
			} else if at(c.pingSince, o.PingTimeout) {
				c.end(&http2.ConnError{Code: http2.NoError, Text: "the peer does not answer"})
				c.nc.Close()
			}
		}
		if c.pingSince == 0 && at(c.lastRead, o.PingInterval) {
			if c.active > 0 {
				c.pingSince = now
				c.ping(alivePing)
				at(now, o.PingTimeout)
			} else {
				at(now, o.PingInterval)
			}
		}
	}
	return max(next, now+int64(time.Millisecond))
}

func (c *conn) ping(which uint64) {
	var data [8]byte
	binary.BigEndian.PutUint64(data[:], which)
	c.lend()
	c.h2.Ping(data)
	c.kick()
}

func (c *conn) pong(data [8]byte) {
	if binary.BigEndian.Uint64(data[:]) == drainPing && c.drainSince != 0 {
		c.lastGoAway()
	}
}

// say sends GOAWAY.
func (c *conn) say(code http2.Code, final bool, text string) {
	c.lend()
	c.h2.GoAway(code, final, text)
	c.kick()
}

// drain asks the peer to open no more streams (RFC 9113 section 6.8): a warning, and when the peer must have seen it, what we mean.
func (c *conn) drain() {
	if c.drainSince != 0 || c.ending {
		return
	}
	c.drainSince = c.now()
	c.say(http2.NoError, false, "")
	c.ping(drainPing)
}

func (c *conn) lastGoAway() {
	if !c.final && !c.ending {
		c.final = true
		c.say(http2.NoError, true, "")
		c.drained()
	}
}

// drained closes a connection that is draining and has nothing left to do.
func (c *conn) drained() {
	if c.final && c.active == 0 {
		c.end(nil)
	}
}
