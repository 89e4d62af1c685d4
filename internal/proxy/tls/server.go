package tls

import (
	"context"
	"crypto/sha256"
	cryptotls "crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// Server is a compiled DownstreamTlsContext.
type Server struct {
	follower[serverState]
	parts       parts
	base        *cryptotls.Config // what needs no Secret
	protocols   []string
	required    bool // a client must have a certificate
	ticketKeys  [][32]byte
	ticketsName string // of a Secret
	config      *cryptotls.Config
}

// serverState is a Server with the Secrets of a moment.
type serverState struct {
	err       error // why no handshake succeeds
	with      *cryptotls.Config
	without   *cryptotls.Config // ALPN
	principal string            // of our own certificate
	trust     [sha256.Size]byte
	keysUntil atomic.Int64 // Unix seconds; 0: for good
}

// NewServer compiles a context. Secrets that it names need not be there yet.
func NewServer(m *tlsv3.DownstreamTlsContext, secrets *Secrets) (*Server, error) {
	if err := field.Only(m, "common_tls_context", "require_client_certificate", "require_sni", "session_ticket_keys",
		"session_ticket_keys_sds_secret_config", "disable_stateless_session_resumption", "disable_stateful_session_resumption",
		"session_timeout", "full_scan_certs_on_sni_mismatch", "prefer_client_ciphers"); err != nil {
		return nil, err
	}
	common := m.GetCommonTlsContext()
	if common == nil {
		return nil, field.In("common_tls_context", errNoContext)
	}
	s := &Server{base: &cryptotls.Config{}, protocols: slices.Clone(common.GetAlpnProtocols()), required: m.GetRequireClientCertificate().GetValue()}
	var err error
	if s.parts, err = newParts(common); err != nil {
		return nil, field.In("common_tls_context", err)
	}
	switch {
	case len(s.parts.certificates)+len(s.parts.certNames) == 0:
		return nil, field.Errorf("common_tls_context", "a server without a certificate")
	case s.required && s.parts.verifier == nil && s.parts.trustName == "":
		return nil, field.Errorf("require_client_certificate", "nothing says which certificates are good: there is no validation context")
	}
	if err := parameters(common.GetTlsParams(), s.base); err != nil {
		return nil, field.In("common_tls_context", field.In("tls_params", err))
	}
	names := s.parts.names()
	switch t := m.GetSessionTicketKeysType().(type) {
	case *tlsv3.DownstreamTlsContext_SessionTicketKeys:
		if s.ticketKeys, err = newTicketKeys(t.SessionTicketKeys); err != nil {
			return nil, field.In("session_ticket_keys", err)
		}
	case *tlsv3.DownstreamTlsContext_SessionTicketKeysSdsSecretConfig:
		s.ticketsName = t.SessionTicketKeysSdsSecretConfig.GetName()
		if err := named("session_ticket_keys_sds_secret_config", s.ticketsName); err != nil {
			return nil, err
		}
		names = append(slices.Clone(names), s.ticketsName)
	case *tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption:
		s.base.SessionTicketsDisabled = t.DisableStatelessSessionResumption
	}
	s.follower.secrets, s.follower.names, s.follower.build = secrets, names, s.state
	s.config = s.base.Clone()
	s.config.GetConfigForClient = s.choose
	return s, nil
}

// Config is for crypto/tls.Server: each handshake takes the Secrets of that moment, and fails where one is missing. It is the same value always,
// and may be used for any number of connections at once.
func (s *Server) Config() *cryptotls.Config { return s.config }

// Principal is the first URI in our own certificate: the SPIFFE ID that clients see, "" if it has none.
func (s *Server) Principal() string { return s.get().principal }

// Await waits until all Secrets that the context names are there: a listener may be told of before them. The error says which are missing when ctx is
// done.
func (s *Server) Await(ctx context.Context) error {
	for {
		changed := s.secrets.Changed()
		err := s.get().err
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}

// SecretNames are the Secrets that the context names.
func (s *Server) SecretNames() []string { return s.follower.names }

// Ready tells whether all of them are there.
func (s *Server) Ready() bool { return s.get().err == nil }

// choose gives the configuration for one handshake. crypto/tls refuses a client that offers protocols of which we have none; Envoy goes on
// without one (RFC 7301 section 3.2 allows both), and Istio's clients count on it.
func (s *Server) choose(hello *cryptotls.ClientHelloInfo) (*cryptotls.Config, error) {
	st := s.get()
	if st.err != nil {
		return nil, st.err
	}
	if until := st.keysUntil.Load(); until != 0 {
		if now := time.Now(); now.Unix() >= until {
			s.renew(st, now)
		}
	}
	for _, p := range s.protocols {
		if slices.Contains(hello.SupportedProtos, p) {
			return st.with, nil
		}
	}
	return st.without, nil
}

// renew gives the configurations the ticket keys of the day.
func (s *Server) renew(st *serverState, now time.Time) {
	keys, until := s.secrets.tickets.keys(st.trust, now)
	st.with.SetSessionTicketKeys(keys)
	st.without.SetSessionTicketKeys(keys)
	st.keysUntil.Store(until.Unix())
}

// state is the Server with Secrets in the order of its names.
func (s *Server) state(found []*secret) *serverState {
	st := &serverState{}
	keys := s.ticketKeys
	if s.ticketsName != "" {
		last := found[len(found)-1]
		found = found[:len(found)-1]
		if last == nil || last.tickets == nil {
			st.err = refuse(NoSecret, fmt.Errorf("tls: secret %s is not there, or no session ticket keys", s.ticketsName))
			return st
		}
		keys = last.tickets
	}
	certs, verify, err := s.parts.with(found)
	if err != nil {
		st.err = refuse(NoSecret, fmt.Errorf("tls: %w", err))
		return st
	}
	st.principal = certs[0].principal()
	c := s.base.Clone()
	c.GetCertificate = func(hello *cryptotls.ClientHelloInfo) (*cryptotls.Certificate, error) { return pick(hello, certs), nil }
	if verify != nil {
		s.authenticate(c, verify)
	}
	st.without = c
	st.with = c.Clone()
	st.with.NextProtos = s.protocols
	st.trust = sha256.Sum256(append(s.parts.trust(found), byte(c.ClientAuth)))
	switch {
	case c.SessionTicketsDisabled:
	case keys != nil:
		st.with.SetSessionTicketKeys(keys)
		st.without.SetSessionTicketKeys(keys)
	default:
		s.renew(st, time.Now())
	}
	return st
}

// authenticate has clients show a certificate. It is checked where crypto/tls comes by for resumed sessions too, so that one that expired, was
// revoked or is trusted no more since does not live on in a ticket.
func (s *Server) authenticate(c *cryptotls.Config, verify *verifier) {
	c.ClientAuth = cryptotls.RequestClientCert
	if s.required {
		c.ClientAuth = cryptotls.RequireAnyClientCert
	}
	if !verify.unlisted {
		c.ClientCAs = verify.roots
	}
	required := s.required
	c.VerifyConnection = func(cs cryptotls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 && !required {
			return nil
		}
		return verify.verify(cs.PeerCertificates, x509.ExtKeyUsageClientAuth, time.Now())
	}
}
