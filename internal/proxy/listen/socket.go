package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftmesh/weft/internal/proxy/stats"
)

// Sockets are the open sockets of a proxy. Use New. It is safe for concurrent use.
type Sockets struct {
	server
	ctx    context.Context // of all connections
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	open map[*Socket]struct{}
}

// New makes a set without sockets. Close it.
func New(log *slog.Logger, reg *stats.Registry) *Sockets {
	ctx, cancel := context.WithCancel(context.Background())
	return &Sockets{server: server{log: log, reg: reg, metrics: NewMetrics(reg), learned: &Learned{}}, ctx: ctx, cancel: cancel, open: map[*Socket]struct{}{}}
}

// KnowOutside has f tell which clients, by their addresses, speak none of the mesh's TLS: nobody waits for theirs when a server speaks first.
func (s *Sockets) KnowOutside(f func(netip.Addr) bool) { s.outside.Store(&f) }

// Learned is what connections have shown of their destinations.
func (s *Sockets) Learned() *Learned { return s.learned }

// Address is where a socket listens.
type Address struct {
	netip.AddrPort
	// DualStack has [::] take IPv4 as well.
	DualStack bool
}

func (a Address) network() string {
	switch {
	case a.Addr().Is4():
		return "tcp4"
	case a.DualStack:
		return "tcp"
	}
	return "tcp6"
}

// Socket accepts connections for whichever listener it is given.
type Socket struct {
	ln       net.Listener
	listener atomic.Pointer[Listener]
	parent   *Sockets
}

// Open binds an address and serves l on it.
func (s *Sockets) Open(a Address, l *Listener) (*Socket, error) {
	ln, err := (&net.ListenConfig{KeepAlive: -1}).Listen(s.ctx, a.network(), a.String())
	if errors.Is(err, syscall.EAFNOSUPPORT) && a.DualStack { // there is no IPv6 here
		ln, err = (&net.ListenConfig{KeepAlive: -1}).Listen(s.ctx, "tcp4", netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()).String())
	}
	if err != nil {
		return nil, err
	}
	k := &Socket{ln: ln, parent: s}
	k.listener.Store(l)
	s.mu.Lock()
	s.open[k] = struct{}{}
	s.mu.Unlock()
	s.wg.Go(k.accept)
	return k, nil
}

// Addr is the address that is bound, with the port that the kernel chose if it was to choose one.
func (k *Socket) Addr() netip.AddrPort { return addrPort(k.ln.Addr()) }

// Serve has connections that come from now on served by l.
func (k *Socket) Serve(l *Listener) { k.listener.Store(l) }

// Close stops accepting. Connections go on.
func (k *Socket) Close() {
	k.parent.mu.Lock()
	delete(k.parent.open, k)
	k.parent.mu.Unlock()
	_ = k.ln.Close()
}

func (k *Socket) accept() {
	s := k.parent
	for {
		nc, err := k.ln.Accept()
		if err == nil {
			l := k.listener.Load()
			s.wg.Go(func() { s.serve(s.ctx, l, nc) })
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if !errors.Is(err, syscall.ECONNABORTED) { // out of files or memory: it gets better or it does not, but not at once
			s.log.Warn("cannot accept connections", "address", k.ln.Addr(), "error", err)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// CloseAll stops accepting on all sockets.
func (s *Sockets) CloseAll() {
	s.mu.Lock()
	all := make([]*Socket, 0, len(s.open))
	for k := range s.open {
		all = append(all, k)
	}
	s.mu.Unlock()
	for _, k := range all {
		k.Close()
	}
}

// Close ends all connections and waits for them.
func (s *Sockets) Close() {
	s.CloseAll()
	s.cancel()
	s.wg.Wait()
}

func stack() string { return string(debug.Stack()) }
