package transport

import "time"

// Options are the limits of a connection. A zero field takes the default that is named with it; negative durations are no limit.
type Options struct {
	// Scheme of the requests that a server reads: "https" where the connection is encrypted ("http").
	Scheme string

	// MaxHeadBytes bounds a head (60 KiB), MaxFields the fields in it (100). A request with more is answered with 431 or 414.
	MaxHeadBytes int
	MaxFields    int

	// HeadTimeout is how long a head may take from its first byte to its last (10 s); the answer is 408.
	HeadTimeout time.Duration
	// IdleTimeout closes a connection on which nothing came for so long between two exchanges (1 h).
	IdleTimeout time.Duration
	// StallTimeout closes a connection whose client takes no bytes of a response for so long, and at the latest after twice that (5 min).
	StallTimeout time.Duration
	// LingerTimeout is how long the rest of a request that nobody wants is read and thrown away (1 s), and DrainBytes how much of it (64 KiB):
	// a connection that is closed on unread bytes is reset, and the client may lose the response.
	LingerTimeout time.Duration
	DrainBytes    int

	// MaxRequests is after how many requests a connection is closed (none).
	MaxRequests int

	// Prefix is what was read from the connection already.
	Prefix []byte
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	size := func(n *int, to int) {
		if *n <= 0 {
			*n = to
		}
	}
	if o.Scheme == "" {
		o.Scheme = "http"
	}
	size(&o.MaxHeadBytes, 60<<10)
	size(&o.MaxFields, 100)
	size(&o.DrainBytes, 64<<10)
	def(&o.HeadTimeout, 10*time.Second)
	def(&o.IdleTimeout, time.Hour)
	def(&o.StallTimeout, 5*time.Minute)
	def(&o.LingerTimeout, time.Second)
	return o
}
