package dns

import (
	"context"
	"errors"
	"os"
	"time"
)

// serveUDP answers what comes to one socket until its read deadline passes.
func (s *Server) serveUDP(ctx context.Context, u *udpSocket, w *worker) error {
	in := newBatch(maxQuery, u.control)
	out := newBatch(int(s.config.UDPSize), false)
	for {
		n, err := u.receive(in)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		start, sending := time.Now(), 0
		for i := range n {
			packet, via := in.packet(i), transport{ipv6: in.ipv6(i)}
			reply, later := w.handle(packet, out.buffer(sending), via, start)
			if later && !s.laterUDP(ctx, u, in, i, via, start) {
				reply = w.overload(packet, out.buffer(sending), via, start)
			}
			if reply != nil {
				out.reply(sending, reply, in, i)
				sending++
			}
		}
		u.send(out, sending)
	}
}

// maxQuery is the largest query that is read, in bytes; no proper one is near.
const maxQuery = 2048

// laterUDP leaves a packet for later; what is needed of it is copied.
func (s *Server) laterUDP(ctx context.Context, u *udpSocket, in *batch, i int, via transport, start time.Time) bool {
	one := in.single(i)
	return s.later(ctx, one.packet(0), via, start, func(framed []byte) {
		if framed != nil {
			one.answer(framed[framing:])
			u.send(one, 1)
		}
	})
}
