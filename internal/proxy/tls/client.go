package tls

import (
	"context"
	cryptotls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/socket"
)

// Client is a compiled UpstreamTlsContext.
type Client struct {
	follower[clientState]
	parts     parts
	base      *cryptotls.Config
	sni       string
	hostSNI   bool // the endpoint's host is the SNI
	checksSNI bool // the certificate must be good for the SNI
	sessions  int  // 0: none are resumed
}

// clientState is a Client with the Secrets of a moment.
type clientState struct {
	err    error
	config *cryptotls.Config
	verify *verifier // nil: any certificate is taken
}

// minSessions are remembered if any are: with one, as Envoy's default is, endpoints behind one name would push each other out.
const minSessions = 64

// HandshakeOptions are what the context leaves to each connection.
type HandshakeOptions struct {
	// HostSNI is the name of the endpoint's host: the SNI where the context says auto_host_sni, and nothing otherwise.
	HostSNI string
	// SNI replaces the context's own, if not empty (auto_sni of the cluster's HTTP options: the request's authority).
	SNI string
	// ALPN replaces the context's protocols, if not nil.
	ALPN []string
	// Identities are SPIFFE IDs, with spaces between, one of which must be in the server's certificate, beside what the context asks for; "" is any.
	Identities string
}

// NewClient compiles a context. Secrets that it names need not be there yet.
func NewClient(m *tlsv3.UpstreamTlsContext, secrets *Secrets) (*Client, error) {
	if err := field.Only(m, "common_tls_context", "sni", "auto_host_sni", "auto_sni_san_validation", "allow_renegotiation", "max_session_keys",
		"enforce_rsa_key_usage"); err != nil {
		return nil, err
	}
	common := m.GetCommonTlsContext()
	if common == nil {
		common = &tlsv3.CommonTlsContext{}
	}
	// What a server must be is decided in VerifyConnection, which crypto/tls calls for resumed sessions too.
	c := &Client{sni: m.GetSni(), hostSNI: m.GetAutoHostSni(), checksSNI: m.GetAutoSniSanValidation(), sessions: minSessions,
		base: &cryptotls.Config{InsecureSkipVerify: true, NextProtos: slices.Clone(common.GetAlpnProtocols())}} //nolint:gosec // see above
	if len(c.sni) > 255 {
		return nil, field.Errorf("sni", "is longer than 255 bytes")
	}
	if n := m.GetMaxSessionKeys(); n != nil {
		c.sessions = max(int(min(n.GetValue(), 1<<16)), minSessions)
		if n.GetValue() == 0 {
			c.sessions = 0
		}
	}
	if m.GetAllowRenegotiation() {
		c.base.Renegotiation = cryptotls.RenegotiateFreelyAsClient
	}
	var err error
	if c.parts, err = newParts(common); err != nil {
		return nil, field.In("common_tls_context", err)
	}
	if len(c.parts.certificates)+len(c.parts.certNames) > 1 {
		return nil, field.Errorf("common_tls_context", "a client has one certificate")
	}
	if c.checksSNI && c.parts.verifier == nil && c.parts.trustName == "" {
		return nil, field.Errorf("auto_sni_san_validation", "nothing says whose certificates are good: there is no validation context")
	}
	if err := parameters(common.GetTlsParams(), c.base); err != nil {
		return nil, field.In("common_tls_context", field.In("tls_params", err))
	}
	c.follower.secrets, c.follower.names, c.follower.build = secrets, c.parts.names(), c.state
	return c, nil
}

func (c *Client) state(found []*secret) *clientState {
	certs, verify, err := c.parts.with(found)
	if err == nil && c.checksSNI && verify.roots == nil {
		err = errors.New("auto_sni_san_validation needs a trusted_ca")
	}
	if err != nil {
		return &clientState{err: refuse(NoSecret, fmt.Errorf("tls: %w", err))}
	}
	st := &clientState{config: c.base.Clone(), verify: verify}
	if len(certs) > 0 {
		st.config.GetClientCertificate = func(*cryptotls.CertificateRequestInfo) (*cryptotls.Certificate, error) { return &certs[0].pair, nil }
	}
	// Sessions end with the state: what was agreed on under another identity or other trust is not taken up.
	if c.sessions > 0 {
		st.config.ClientSessionCache = cryptotls.NewLRUClientSessionCache(c.sessions)
	}
	return st
}

// SNI is the name that a handshake with these options asks for.
func (c *Client) SNI(o HandshakeOptions) string {
	switch {
	case c.hostSNI && o.HostSNI != "":
		return o.HostSNI
	case o.SNI != "":
		return o.SNI
	}
	return c.sni
}

// Handshake makes conn a TLS connection, with the Secrets of this moment. When it fails conn is closed.
func (c *Client) Handshake(ctx context.Context, conn net.Conn, o HandshakeOptions) (*cryptotls.Conn, error) {
	st := c.get()
	if st.err != nil {
		_ = conn.Close()
		return nil, st.err
	}
	config := st.config.Clone()
	config.ServerName = c.SNI(o)
	if o.ALPN != nil {
		config.NextProtos = o.ALPN
	}
	if st.verify != nil {
		config.VerifyConnection = func(cs cryptotls.ConnectionState) error {
			if err := c.check(st.verify, config.ServerName, cs); err != nil {
				return err
			}
			return identified(o.Identities, cs)
		}
	} else if o.Identities != "" {
		_ = conn.Close()
		return nil, errors.New("tls: an identity is wanted, and nothing says whose certificates are good")
	}
	tlsConn := cryptotls.Client(socket.Direct(conn), config)
	if err := tlsConn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return tlsConn, nil
}

// identified tells whether the server is one of those that are wanted.
func identified(wanted string, cs cryptotls.ConnectionState) error {
	if wanted == "" {
		return nil
	}
	for _, uri := range cs.PeerCertificates[0].URIs {
		for id := range strings.FieldsSeq(wanted) {
			if uri.String() == id {
				return nil
			}
		}
	}
	return refuse(WrongName, fmt.Errorf("the server is %s, not %s", namesOf(cs.PeerCertificates[0]), wanted))
}

// check tells whether the server is the one that is wanted.
func (c *Client) check(v *verifier, sni string, cs cryptotls.ConnectionState) error {
	if !c.checksSNI {
		return v.verify(cs.PeerCertificates, x509.ExtKeyUsageServerAuth, time.Now())
	}
	bySNI := *v // names are replaced by the one that was asked for
	bySNI.names = nil
	if err := bySNI.verify(cs.PeerCertificates, x509.ExtKeyUsageServerAuth, time.Now()); err != nil || v.untrusted {
		return err
	}
	if sni == "" {
		return refuse(WrongName, errors.New("no name was asked for that the certificate could be good for"))
	}
	if _, err := netip.ParseAddr(sni); err == nil {
		sni = "[" + sni + "]"
	}
	return cs.PeerCertificates[0].VerifyHostname(sni)
}

// SecretNames are the Secrets that the context names.
func (c *Client) SecretNames() []string { return c.follower.names }

// Ready tells whether all of them are there.
func (c *Client) Ready() bool { return c.get().err == nil }
