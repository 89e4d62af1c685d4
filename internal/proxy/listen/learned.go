package listen

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
)

// Learned is at which destinations the server has been seen to speak first, so that nobody needs to find out again. It is safe for concurrent use.
type Learned struct {
	mu    sync.RWMutex
	known map[netip.AddrPort]learned
}

type learned uint8

const (
	serverFirst learned = iota + 1
	clientFirst         // at least once: it stays open what comes
)

// maxLearned bounds the destinations. Of more nothing is learned.
const maxLearned = 4096

// ServerFirst tells whether the server at a destination speaks first.
func (l *Learned) ServerFirst(at netip.AddrPort) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.known[at] == serverFirst
}

// Note takes what the server said before its client did: nothing if the client was first. An answer of HTTP is what a server may say to a client that says
// nothing for long.
func (l *Learned) Note(at netip.AddrPort, said []byte, clientSpoke bool) {
	what := serverFirst
	switch {
	case clientSpoke && len(said) == 0:
		what = clientFirst
	case len(said) == 0, bytes.HasPrefix(said, []byte("HTTP/")):
		return
	}
	l.mu.RLock()
	known := l.known[at]
	l.mu.RUnlock()
	if known == what || known == clientFirst {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = map[netip.AddrPort]learned{}
	}
	if len(l.known) < maxLearned || known != 0 {
		l.known[at] = what
	}
}

// ServersFirst lists the destinations whose server speaks first.
func (l *Learned) ServersFirst() (out []netip.AddrPort) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for at, what := range l.known {
		if what == serverFirst {
			out = append(out, at)
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}
