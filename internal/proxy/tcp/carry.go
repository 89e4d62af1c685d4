package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/proxy/listen"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// halves is a connection whose directions end apart.
type halves interface{ CloseWrite() error }

// carry moves bytes both ways until both directions have ended, one has failed, or neither moved anything for too long.
// said is what the endpoint has said already.
func (p *Proxy) carry(ctx context.Context, c *listen.Conn, up *upstream.Conn, said []byte) (received, sent int64) {
	var last atomic.Int64 // when something moved, in nanoseconds
	last.Store(time.Now().UnixNano())
	closeBoth := func() {
		_ = c.Net.Close()
		_ = up.Close()
	}
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { received = p.copy(up.Conn, c.Net, c.Prefix, &last, closeBoth) })
	sent = p.copy(c.Net, up.Conn, said, &last, closeBoth)
	wg.Wait()
	return received, sent
}

// piece is how much is moved between two looks at the clock.
const piece = 16 << 20

// copy moves one direction to its end.
func (p *Proxy) copy(dst, src net.Conn, prefix []byte, last *atomic.Int64, closeBoth func()) (n int64) {
	if len(prefix) > 0 {
		wrote, err := dst.Write(prefix)
		n = int64(wrote)
		if err != nil {
			closeBoth()
			return n
		}
	}
	for {
		if p.idle > 0 {
			_ = src.SetReadDeadline(time.Now().Add(p.idle))
		}
		limited := io.LimitedReader{R: src, N: piece}
		moved, err := io.Copy(dst, &limited)
		n += moved
		if moved > 0 {
			last.Store(time.Now().UnixNano())
		}
		var timeout net.Error
		switch {
		case err == nil && limited.N > 0: // the end of this direction
			if h, ok := dst.(halves); ok && h.CloseWrite() == nil {
				return n
			}
			closeBoth()
			return n
		case errors.As(err, &timeout) && timeout.Timeout():
			if time.Since(time.Unix(0, last.Load())) < p.idle {
				continue // the other direction is alive
			}
			closeBoth()
			return n
		case err != nil:
			closeBoth()
			return n
		}
	}
}
