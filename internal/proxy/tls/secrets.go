package tls

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// Secrets are the Secrets there are, by name. It is safe for concurrent use; contexts made with it follow every change, connections keep what they
// were made with.
type Secrets struct {
	mu      sync.RWMutex
	byName  map[string]*secret
	changed chan struct{}
	version atomic.Uint64 // grows with every change
	tickets ticketStore
}

// secret is one that is valid; exactly one of its parts is there. It never changes.
type secret struct {
	certificate *certificate
	validation  *verifier
	context     *tlsv3.CertificateValidationContext // what validation was made of
	tickets     [][32]byte
}

// NewSecrets makes an empty set.
func NewSecrets() *Secrets {
	s := &Secrets{byName: map[string]*secret{}, changed: make(chan struct{})}
	s.version.Store(1)
	return s
}

// Update puts a Secret in place of the one with its name. If it is not valid the old one stays; the error names the field and is what a NACK says.
func (s *Secrets) Update(msg *tlsv3.Secret) error {
	if msg.GetName() == "" {
		return errors.New("secret without a name")
	}
	compiled, err := newSecret(msg)
	if err != nil {
		return fmt.Errorf("secret %q: %w", msg.GetName(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[msg.GetName()] = compiled
	s.notify()
	return nil
}

func newSecret(msg *tlsv3.Secret) (*secret, error) {
	switch t := msg.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		c, err := newCertificate(t.TlsCertificate)
		return &secret{certificate: c}, field.In("tls_certificate", err)
	case *tlsv3.Secret_ValidationContext:
		v, err := newVerifier(t.ValidationContext)
		return &secret{validation: v, context: proto.CloneOf(t.ValidationContext)}, field.In("validation_context", err)
	case *tlsv3.Secret_SessionTicketKeys:
		keys, err := newTicketKeys(t.SessionTicketKeys)
		return &secret{tickets: keys}, field.In("session_ticket_keys", err)
	}
	return nil, errors.New("not of a type that this proxy knows")
}

// Remove forgets a Secret. Contexts that name it are not ready from then on.
func (s *Secrets) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName[name] != nil {
		delete(s.byName, name)
		s.notify()
	}
}

// Identity gives the first URI of the certificate in a Secret: the SPIFFE ID of who has it. "" is that there is none.
func (s *Secrets) Identity(name string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	one := s.byName[name]
	if one == nil || one.certificate == nil || len(one.certificate.pair.Leaf.URIs) == 0 {
		return ""
	}
	return one.certificate.pair.Leaf.URIs[0].String()
}

// Changed is closed at the next change: whoever waits for a context to become ready looks again then.
func (s *Secrets) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

func (s *Secrets) notify() {
	s.version.Add(1)
	close(s.changed)
	s.changed = make(chan struct{})
}

// lookup gives the Secrets of these names, nil for those that are not there, and the version that this is true of.
func (s *Secrets) lookup(names []string) (uint64, []*secret) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := make([]*secret, len(names))
	for i, name := range names {
		found[i] = s.byName[name]
	}
	return s.version.Load(), found
}

// follower keeps a value that is made of Secrets, and makes it again when one of them changed; not when others did.
type follower[T any] struct {
	secrets *Secrets
	names   []string
	build   func([]*secret) *T // in the order of names; nil for those that are not there

	value atomic.Pointer[T]
	seen  atomic.Uint64 // the version that value is known to be of
	mu    sync.Mutex    // of what follows, and of making
	of    []*secret
}

func (f *follower[T]) get() *T {
	if v := f.value.Load(); v != nil && f.seen.Load() == f.secrets.version.Load() {
		return v
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	version, of := f.secrets.lookup(f.names)
	v := f.value.Load()
	if v == nil || !slices.Equal(of, f.of) {
		v, f.of = f.build(of), of
		f.value.Store(v)
	}
	f.seen.Store(version)
	return v
}
