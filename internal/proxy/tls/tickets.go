package tls

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// newTicketKeys reads keys that somebody else chose, the first of which is used for new tickets. They have 80 bytes there and 32 here, of which
// the others are not to be guessed: all proxies with the same ones understand each other, but not Envoy.
func newTicketKeys(m *tlsv3.TlsSessionTicketKeys) (out [][32]byte, err error) {
	for i, source := range m.GetKeys() {
		key, err := read(source)
		if err == nil && len(key) != 80 {
			err = errors.New("a key has 80 bytes")
		}
		if err != nil {
			return nil, field.At("keys", i, err)
		}
		out = append(out, sha256.Sum256(key))
	}
	if len(out) == 0 {
		return nil, field.Errorf("keys", "there is none")
	}
	return out, nil
}

const (
	// ticketRotation is how long a key makes tickets; for as long again it is understood.
	ticketRotation = 12 * time.Hour
	// maxTicketKeys bounds for how many contexts keys are remembered.
	maxTicketKeys = 1024
)

// ticketStore has the keys that we made ourselves. They belong to what a context trusts and is, not to the context: a new version of it goes on
// with the sessions of the old one, unless it trusts others.
type ticketStore struct {
	mu        sync.Mutex
	byContext map[[sha256.Size]byte]*ticketKeys
}

type ticketKeys struct {
	keys [][32]byte
	made time.Time
}

// keys gives the keys of a context, and until when they are to be used.
func (s *ticketStore) keys(of [sha256.Size]byte, now time.Time) ([][32]byte, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.byContext[of]
	if k == nil {
		if len(s.byContext) >= maxTicketKeys {
			clear(s.byContext) // sessions end early; nothing else does
		}
		if s.byContext == nil {
			s.byContext = map[[sha256.Size]byte]*ticketKeys{}
		}
		k = &ticketKeys{}
		s.byContext[of] = k
	}
	if now.Sub(k.made) >= ticketRotation {
		var key [32]byte
		_, _ = rand.Read(key[:]) // never fails
		fresh := [][32]byte{key}
		if len(k.keys) > 0 && now.Sub(k.made) < 2*ticketRotation {
			fresh = append(fresh, k.keys[0])
		}
		k.keys, k.made = fresh, now
	}
	return k.keys, k.made.Add(ticketRotation)
}
