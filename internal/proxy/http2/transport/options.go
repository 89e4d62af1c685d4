package transport

import "time"

// Options are the limits of a connection. A zero field takes the default that is named with it; negative durations are no limit.
type Options struct {
	// MaxConcurrentStreams is how many exchanges a client may have open (100). A server lets as many handlers again finish which the client has
	// reset already, and refuses streams beyond that.
	MaxConcurrentStreams uint32

	// StreamWindowBytes is what a peer may send on a stream before somebody reads it (256 KiB: 250 MB/s and stream at 1 ms).
	// ConnectionWindowBytes is the same for all streams together (1 MiB), and so the most memory that unread bodies of a connection hold.
	StreamWindowBytes, ConnectionWindowBytes uint32

	// MaxHeaderListBytes bounds the fields of a message as RFC 9113 section 6.5.2 counts them (60 KiB). A request with more is answered with 431.
	MaxHeaderListBytes uint32

	// NoExtendedConnect: a server does not offer RFC 8441.
	NoExtendedConnect bool

	// IdleTimeout closes a connection that had no stream for so long (none).
	IdleTimeout time.Duration
	// MaxAge is when a server asks the client to go elsewhere (none): GOAWAY, and the streams that are open finish within DrainTimeout.
	MaxAge time.Duration
	// DrainTimeout is how long streams may go on after Drain or MaxAge (none).
	DrainTimeout time.Duration
	// PingInterval is the silence after which the peer is asked whether it lives, if it has streams (none), and PingTimeout how long it may
	// take for that (15 s).
	PingInterval, PingTimeout time.Duration
	// StallTimeout ends a stream whose writer waits for the peer's flow control for so long, and a connection that takes no bytes (5 min).
	StallTimeout time.Duration
	// SettingsTimeout is how long the peer may take to begin: preface, SETTINGS, and the acknowledgement of ours (10 s).
	SettingsTimeout time.Duration

	// Prefix is what was read from the connection already.
	Prefix []byte
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	size := func(n *uint32, to uint32) {
		if *n == 0 {
			*n = to
		}
	}
	size(&o.MaxConcurrentStreams, 100)
	size(&o.StreamWindowBytes, 256<<10)
	size(&o.ConnectionWindowBytes, 1<<20)
	size(&o.MaxHeaderListBytes, 60<<10)
	def(&o.PingTimeout, 15*time.Second)
	def(&o.StallTimeout, 5*time.Minute)
	def(&o.SettingsTimeout, 10*time.Second)
	return o
}
