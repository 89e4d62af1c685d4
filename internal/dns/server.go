package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/dns/forward"
	"github.com/weftmesh/weft/internal/dns/wire"
	"github.com/weftmesh/weft/internal/dns/zone"
)

// Config is what a [Server] is told once. Zero values are the defaults.
type Config struct {
	// Addresses to listen on, UDP and TCP, as "host:port" (":53": all addresses of both families).
	Addresses []string

	// Zone holds the cluster's names. Required.
	Zone *zone.Zone

	// Forwarder is asked for all others; nil refuses them. The server does not run it.
	Forwarder *forward.Forwarder

	// UDPSize is the largest answer given over UDP, in bytes, to those who say they can take it (1232).
	UDPSize uint16

	// Readers is the number of UDP sockets for each address (one for each processor).
	Readers int

	// Pending bounds the questions that wait for an upstream at a time (1000); more are answered SERVFAIL at once.
	Pending int

	// Connections bounds the TCP connections at a time (1000); more are closed. Idle is how long one may be silent (10 s).
	Connections int
	Idle        time.Duration

	Logger *slog.Logger
}

// grace is how long questions that wait for an upstream may still take when the server stops.
const grace = time.Second

// Server answers DNS queries.
type Server struct {
	config Config
	zone   *zone.Zone
	fwd    *forward.Forwarder
	log    *slog.Logger
	ready  atomic.Bool

	udp []reader
	tcp []net.Listener

	pending chan struct{} // a token for each question that waits
	waiting sync.WaitGroup
	conns   connections
	rest    *counters   // of what is not a UDP reader
	all     []*counters // rest and those of the readers
	workers sync.Pool   // *worker for questions that wait
}

// Listen makes a Server and binds its sockets; [Server.Serve] must follow, or [Server.Close]. Until [Server.MarkReady] it answers SERVFAIL
// for the cluster's names, because it would deny those it has not heard of yet.
func Listen(ctx context.Context, c Config) (*Server, error) {
	if c.Zone == nil {
		return nil, errors.New("dns server: no zone")
	}
	if len(c.Addresses) == 0 {
		c.Addresses = []string{":53"}
	}
	c.UDPSize = max(cmp.Or(c.UDPSize, 1232), wire.PlainUDP)
	c.Readers = cmp.Or(c.Readers, runtime.GOMAXPROCS(0))
	c.Pending = cmp.Or(c.Pending, 1000)
	c.Connections = cmp.Or(c.Connections, 1000)
	c.Idle = cmp.Or(c.Idle, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		config: c, zone: c.Zone, fwd: c.Forwarder, log: c.Logger, pending: make(chan struct{}, c.Pending), rest: new(counters),
		conns: connections{open: map[net.Conn]struct{}{}, limit: c.Connections},
	}
	s.all = []*counters{s.rest}
	s.workers.New = func() any { return &worker{server: s, count: s.rest, out: make([]byte, framing+wire.MaxMessage)} }
	for _, a := range c.Addresses {
		if err := s.listen(ctx, a); err != nil {
			s.Close()
			return nil, fmt.Errorf("dns server: %w", err)
		}
	}
	return s, nil
}

// listen binds one address. TCP comes first because it fails if somebody else has the port; the UDP sockets share theirs.
func (s *Server) listen(ctx context.Context, address string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	s.tcp = append(s.tcp, l)
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	for range s.config.Readers {
		u, err := listenUDP(ctx, net.JoinHostPort(host, port))
		if err != nil {
			return err
		}
		w := &worker{server: s, count: new(counters)}
		s.udp = append(s.udp, reader{u, w})
		s.all = append(s.all, w.count)
	}
	return nil
}

// Addrs gives the addresses that are listened on, each for UDP and TCP.
func (s *Server) Addrs() []net.Addr {
	var as []net.Addr
	for _, l := range s.tcp {
		as = append(as, l.Addr())
	}
	return as
}

// reader is a UDP socket with who answers its packets.
type reader struct {
	*udpSocket
	*worker
}

// Serve answers until the context ends, and returns when everything it started has ended; questions that wait for an upstream then are given
// a moment more.
func (s *Server) Serve(ctx context.Context) error {
	asking, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	failed := make(chan error, len(s.udp)+len(s.tcp))
	var readers sync.WaitGroup
	for _, u := range s.udp {
		readers.Go(func() {
			if err := s.serveUDP(asking, u.udpSocket, u.worker); err != nil {
				failed <- fmt.Errorf("dns server: udp %v: %w", u.conn.LocalAddr(), err)
			}
		})
	}
	for _, l := range s.tcp {
		readers.Go(func() {
			if err := s.serveTCP(asking, l); err != nil {
				failed <- fmt.Errorf("dns server: tcp %v: %w", l.Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	for _, u := range s.udp {
		u.conn.SetReadDeadline(time.Unix(1, 0))
	}
	for _, l := range s.tcp {
		l.Close()
	}
	s.conns.stop()
	readers.Wait()
	timer := time.AfterFunc(grace, cancel)
	s.waiting.Wait()
	timer.Stop()
	s.Close()
	return err
}

// Close closes the sockets of a Server that does not serve.
func (s *Server) Close() {
	for _, l := range s.tcp {
		l.Close()
	}
	for _, u := range s.udp {
		u.conn.Close()
	}
}

// MarkReady says that the zone holds all that there is.
func (s *Server) MarkReady() { s.ready.Store(true) }

// Ready tells whether the zone was said to be full.
func (s *Server) Ready() bool { return s.ready.Load() }

// Explain says in lines for people where the answer to a question comes from, or why there is none.
func (s *Server) Explain(qname string, t wire.Type) []string {
	lines := s.zone.Explain(qname, t)
	if len(lines) > 0 {
		return lines
	}
	if s.fwd == nil {
		return []string{qname + " is not a name of the cluster, and there is nobody to ask for others"}
	}
	line := qname + " is not a name of the cluster; it is asked of"
	for _, u := range s.fwd.Stats().Upstreams {
		line += " " + u.Address
	}
	return []string{line}
}

// Stats is the state of a Server.
type Stats struct {
	Ready   bool
	Zone    zone.Stats
	Forward forward.Stats

	Requests    uint64 // answered
	Dropped     uint64 // packets that were no queries
	Overloaded  uint64 // questions that were refused a place to wait, connections that were refused
	Panics      uint64
	Waiting     int // questions that wait for an upstream now
	Connections int // TCP connections now
}

// Stats tells the state.
func (s *Server) Stats() Stats {
	st := Stats{Ready: s.Ready(), Zone: s.zone.Stats(), Waiting: len(s.pending), Connections: s.conns.count()}
	if s.fwd != nil {
		st.Forward = s.fwd.Stats()
	}
	sum := s.sum()
	for i := range sum.requests {
		st.Requests += sum.requests[i].Load()
	}
	st.Dropped, st.Overloaded, st.Panics = sum.dropped.Load(), sum.overloaded.Load(), sum.panics.Load()
	return st
}
