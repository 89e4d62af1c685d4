package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/listen"
	"github.com/weftmesh/weft/internal/proxy/outbound"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

func (s *Server) static(typeURL, name string, m proto.Message) error {
	resource, err := anypb.New(m)
	if err != nil {
		return err
	}
	if typeURL == xdsclient.ListenerType && name == "" { // Envoy makes a name up
		l := proto.Clone(m).(*listenerv3.Listener)
		sa := l.GetAddress().GetSocketAddress()
		l.Name = fmt.Sprintf("%s_%d", sa.GetAddress(), sa.GetPortValue())
		name = l.Name
		if resource, err = anypb.New(l); err != nil {
			return err
		}
	}
	if err := s.Update(typeURL, name, resource); err != nil {
		return fmt.Errorf("%s %q: %w", typeURL[len("type.googleapis.com/"):], name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statics = append(s.statics, Resource{typeURL, name, resource, time.Now()})
	return nil
}

// updateListener compiles a listener and has it take the place of the one before when it is warm.
func (s *Server) updateListener(m *listenerv3.Listener) error {
	s.mu.Lock()
	var prev *listener
	if h := s.listeners[m.GetName()]; h != nil {
		prev = h.active
	}
	s.mu.Unlock()
	l, err := s.compileListener(m, prev)
	if err != nil {
		return err
	}
	s.need(need{xdsclient.ListenerType, l.name}, l.needs)
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.listeners[l.name]
	if h == nil {
		h = &held{}
		s.listeners[l.name] = h
	}
	h.wanted = l
	s.heard(l.name)
	return nil
}

func (s *Server) removeListener(name string) {
	s.need(need{xdsclient.ListenerType, name}, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard(name)
	if h := s.listeners[name]; h != nil {
		h.wanted = nil
	}
}

// warm begins with the listeners that static configuration brought.
func (s *Server) warm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
}

// settle begins to warm what is wanted and not active, and ends what is not wanted. s.mu is held.
func (s *Server) settle() {
	for name, h := range s.listeners {
		switch {
		case h.wanted == nil:
			s.end(name, h)
		case h.wanted != h.active:
			if h.cancel != nil {
				h.cancel()
			}
			ctx, cancel := context.WithTimeout(s.ctx, s.options.WarmTimeout)
			l := h.wanted
			h.cancel = cancel
			s.running.Go(func() {
				defer cancel()
				s.await(ctx, l)
				s.activate(l)
			})
		}
	}
}

// await waits until a listener has what it needs, but not for ever.
func (s *Server) await(ctx context.Context, l *listener) {
	wait := func(c <-chan struct{}) {
		select {
		case <-c:
		case <-ctx.Done():
		}
	}
	wait(s.clusterOK)
	for _, c := range l.chains {
		if _, ok := c.Handler.(*outbound.Filter); ok {
			wait(s.mesh.known) // what is not known yet would be taken for a stranger
		}
		names := c.clusters
		if c.routes != nil {
			wait(c.routes.Ready())
			if t := c.routes.Table(); t != nil {
				for _, v := range t.VirtualHosts {
					for _, r := range v.Routes {
						if r.Forward == nil {
							continue
						}
						for _, d := range r.Forward.Destinations {
							names = append(names, d.Cluster)
						}
					}
				}
			}
		}
		for _, name := range names {
			s.readyCluster(ctx, name)
		}
	}
}

// activate puts a warm listener in place of the one before. Connections go on on the chains that both have; others are asked to end.
func (s *Server) activate(l *listener) {
	for !s.tryActivate(l) {
		select { // an address that is in use may become free
		case <-time.After(time.Second):
		case <-s.ctx.Done():
			return
		}
	}
}

// tryActivate is false if it should be tried again later.
func (s *Server) tryActivate(l *listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.listeners[l.name]
	if h == nil || h.wanted != l || s.ctx.Err() != nil {
		return true // another is wanted meanwhile
	}
	for i, a := range l.addresses {
		err := s.bind(a, l)
		if i > 0 && (errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)) && a.Addr().IsUnspecified() {
			s.log.Info("a listener goes without an address of an IP family that is not here", "listener", l.name, "address", a.AddrPort)
			continue
		}
		if err != nil {
			if h.err == nil || h.err.Error() != err.Error() {
				s.log.Error("a listener cannot be opened; it is tried again", "listener", l.name, "address", a.AddrPort, "error", err)
			}
			h.err = err
			return false
		}
	}
	old := h.active
	h.active, h.err = l, nil
	if old == nil {
		return true
	}
	for _, a := range old.addresses {
		if !slices.Contains(l.addresses, a) {
			s.unbind(a, l.name)
		}
	}
	s.drain(old, l)
	return true
}

// place is an address that a socket is found by: on a port that the kernel is to choose, each listener has one of its own.
type place struct {
	listen.Address
	owner string
}

func placeOf(a listen.Address, owner string) place {
	if a.Port() != 0 {
		owner = ""
	}
	return place{a, owner}
}

// bind serves a listener on an address, on the socket that is there if there is one. s.mu is held.
func (s *Server) bind(a listen.Address, l *listener) error {
	at := placeOf(a, l.name)
	if b := s.bound[at]; b != nil {
		if owner := s.listeners[b.owner]; b.owner != l.name && owner != nil && owner.wanted != nil {
			return fmt.Errorf("listener %q has this address", b.owner)
		}
		b.socket.Serve(l.serve)
		b.owner = l.name
		return nil
	}
	k, err := s.sockets.Open(a, l.serve)
	if err != nil {
		return err
	}
	s.bound[at] = &binding{k, l.name}
	return nil
}

func (s *Server) unbind(a listen.Address, owner string) {
	at := placeOf(a, owner)
	if b := s.bound[at]; b != nil && b.owner == owner {
		b.socket.Close()
		delete(s.bound, at)
	}
}

// end closes a listener that is not wanted, but for addresses that another waits to have. s.mu is held.
func (s *Server) end(name string, h *held) {
	if h.cancel != nil {
		h.cancel()
	}
	if h.active != nil {
		for _, a := range h.active.addresses {
			claimed := false
			for other, o := range s.listeners {
				claimed = claimed || other != name && o.wanted != nil && slices.Contains(o.wanted.addresses, a)
			}
			if !claimed {
				s.unbind(a, name)
			}
		}
		s.drain(h.active, nil)
	}
	delete(s.listeners, name)
}

// drain ends the chains of a listener that its successor does not have.
func (s *Server) drain(old, next *listener) {
	for _, c := range old.chains {
		if next != nil && slices.ContainsFunc(next.chains, func(n chain) bool { return n.Chain == c.Chain }) {
			continue
		}
		c.StartDrain()
		s.running.Go(func() {
			ctx, cancel := context.WithTimeout(s.ctx, s.options.ListenerDrain)
			defer cancel()
			c.Drain(ctx)
		})
	}
}

// Warm waits until the first configuration is in force: what there is of listeners is open, as far as it can be.
func (s *Server) Warm(ctx context.Context) error {
	select {
	case <-s.listensOK:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		if s.open() {
			return nil
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.listeners {
		if h.wanted != nil && h.active == nil && h.err == nil {
			return false
		}
	}
	return true
}

// ListenerState is a listener as admin shows it.
type ListenerState struct {
	Name        string
	Addresses   []netip.AddrPort // that are bound
	Warming     bool             // a newer version waits for what it needs
	Error       string           // why it cannot be opened
	Chains      int
	Connections int
}

// Listeners tells of all listeners, by name.
func (s *Server) Listeners() []ListenerState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ListenerState
	for name, h := range s.listeners {
		st := ListenerState{Name: name, Warming: h.wanted != h.active}
		if h.err != nil {
			st.Error = h.err.Error()
		}
		if h.active != nil {
			st.Chains = len(h.active.chains)
			for _, c := range h.active.chains {
				st.Connections += c.Active()
			}
			for _, a := range h.active.addresses {
				if b := s.bound[placeOf(a, name)]; b != nil && b.owner == name {
					st.Addresses = append(st.Addresses, b.socket.Addr())
				}
			}
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b ListenerState) int { return cmpString(a.Name, b.Name) })
	return out
}

// StartDrain asks all connections to end, and those that still come to end after one answer. It returns at once.
func (s *Server) StartDrain() {
	for _, c := range s.drainable() {
		c.StartDrain()
	}
}

// drainable notes that the server is about to end, and gives the chains that there are.
func (s *Server) drainable() (chains []*listen.Chain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for _, h := range s.listeners {
		if h.active != nil {
			for _, c := range h.active.chains {
				chains = append(chains, c.Chain)
			}
		}
	}
	return chains
}

// Drain asks all connections to end, waits until they have or ctx is done, and stops accepting. New connections get one answer until then.
func (s *Server) Drain(ctx context.Context) {
	chains := s.drainable()
	done := make(chan struct{}, len(chains))
	for _, c := range chains {
		c.StartDrain()
		s.running.Go(func() {
			c.Drain(ctx)
			done <- struct{}{}
		})
	}
	for range chains {
		<-done
	}
	s.sockets.CloseAll()
}
