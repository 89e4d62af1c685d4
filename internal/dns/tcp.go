package dns

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// connections are the TCP connections that are open.
type connections struct {
	mu      sync.Mutex
	open    map[net.Conn]struct{}
	limit   int
	stopped bool
}

func (c *connections) add(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || len(c.open) >= c.limit {
		return false
	}
	c.open[conn] = struct{}{}
	return true
}

func (c *connections) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// stop makes all connections end after the query they are at.
func (c *connections) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	for conn := range c.open {
		conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// idle gives a connection time for its next query, unless the server stops.
func (c *connections) idle(conn net.Conn, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		conn.SetReadDeadline(time.Now().Add(d))
	}
}

// serveTCP accepts connections until the listener is closed, and returns when all have ended.
func (s *Server) serveTCP(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil: // too many files, or a connection that ended before it began: neither is for ever
			s.log.Warn("no connection accepted", "address", l.Addr(), "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		if !s.conns.add(conn) {
			s.rest.overloaded.Add(1)
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer s.conns.remove(conn)
			s.serveConn(ctx, conn)
		})
	}
}

// framing is the size of the length in front of every message (RFC 1035 section 4.2.2).
const framing = 2

// perConnection bounds the questions of one connection that wait for an upstream.
const perConnection = 32

// serveConn answers the queries of one connection as they come. Those that wait for an upstream are overtaken by those that need not
// (RFC 7766 section 6.2.1.1).
func (s *Server) serveConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	places := make(chan struct{}, perConnection)
	defer func() { // whoever has a place still wants to write
		for range perConnection {
			places <- struct{}{}
		}
	}()
	c := &stream{conn: conn, patience: s.config.Idle}
	remote, _ := conn.RemoteAddr().(*net.TCPAddr)
	via := transport{tcp: true, ipv6: remote != nil && remote.IP.To4() == nil}
	in := bufio.NewReaderSize(conn, 2048)
	for {
		s.conns.idle(conn, s.config.Idle)
		packet, err := c.read(in)
		if err != nil {
			return
		}
		if err := s.serveMessage(ctx, c, packet, via, places); err != nil {
			return
		}
	}
}

// serveMessage answers one query of a connection, now or later.
func (s *Server) serveMessage(ctx context.Context, c *stream, packet []byte, via transport, places chan struct{}) error {
	w := s.workers.Get().(*worker)
	defer s.workers.Put(w)
	start := time.Now()
	reply, later := w.handle(packet, w.out[framing:], via, start)
	if later {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.later(ctx, packet, via, start, func(framed []byte) {
			defer func() { <-places }()
			if framed != nil {
				_ = c.write(framed) // the connection's reader meets the same error
			}
		}) {
			return nil
		}
		<-places
		reply = w.overload(packet, w.out[framing:], via, start)
	}
	if reply == nil {
		return nil
	}
	return c.write(w.out[:framing+len(reply)])
}

// stream is a connection that several may write to.
type stream struct {
	conn     net.Conn
	patience time.Duration // for the peer to take an answer
	mu       sync.Mutex
}

// read gives the next message, in bytes of its own.
func (c *stream) read(in io.Reader) ([]byte, error) {
	var size [framing]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(in, packet)
	return packet, err
}

// write sends a message that has room for its length in front.
func (c *stream) write(framed []byte) error {
	binary.BigEndian.PutUint16(framed, uint16(len(framed)-framing))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(c.patience))
	_, err := c.conn.Write(framed)
	return err
}
