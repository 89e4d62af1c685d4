package tls

import (
	"context"
	"crypto/sha256"
	cryptotls "crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const patience = 10 * time.Second

// spiffe is a workload's identity.
const spiffe = "spiffe://cluster.local/ns/default/sa/demo"

// world is an authority, Secrets, and contexts of both sides that trust each other; tests change what they are about.
type world struct {
	ca      *authority
	secrets *Secrets
	down    *tlsv3.DownstreamTlsContext
	up      *tlsv3.UpstreamTlsContext
}

func newWorld(t *testing.T) *world {
	w := &world{ca: newAuthority(t, "ca"), secrets: NewSecrets()}
	w.update(t, certSecret("server", w.ca.issue(t, leaf{name: "www.example.com"})))
	w.update(t, certSecret("client", w.ca.issue(t, leaf{name: spiffe})))
	w.update(t, trustSecret("ROOTCA", w.ca.trusts()))
	trust := &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: sds("ROOTCA")}
	w.down = &tlsv3.DownstreamTlsContext{RequireClientCertificate: wrapperspb.Bool(true), CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{sds("server")}, ValidationContextType: trust}}
	w.up = &tlsv3.UpstreamTlsContext{Sni: "www.example.com", CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{sds("client")}, ValidationContextType: trust}}
	return w
}

func (w *world) update(t testing.TB, s *tlsv3.Secret) {
	t.Helper()
	if err := w.secrets.Update(s); err != nil {
		t.Fatal(err)
	}
}

func (w *world) server(t testing.TB) *Server {
	t.Helper()
	s, err := NewServer(w.down, w.secrets)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) client(t testing.TB) *Client {
	t.Helper()
	c, err := NewClient(w.up, w.secrets)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// meet does a handshake and a word each way. It gives what each side saw, and why it failed.
func meet(t testing.TB, s *Server, c *Client, o HandshakeOptions) (down, up cryptotls.ConnectionState, downErr, upErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			downErr = err
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		tc := cryptotls.Server(conn, s.Config())
		if downErr = tc.Handshake(); downErr != nil {
			return
		}
		down = tc.ConnectionState()
		_, _ = io.WriteString(tc, "hello")
		_, _ = io.ReadAll(tc)
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	tc, upErr := c.Handshake(context.Background(), conn, o)
	if upErr == nil {
		up = tc.ConnectionState()
		if _, upErr = io.ReadFull(tc, make([]byte, 5)); upErr == nil { // TLS 1.3: what the server thinks of our certificate comes now
			_ = tc.Close()
		}
	}
	conn.Close()
	<-done
	return down, up, downErr, upErr
}

func TestMutual(t *testing.T) {
	other := newAuthority(t, "other")
	for _, tt := range []struct {
		name     string
		change   func(t *testing.T, w *world)
		down, up string // in the errors; "" is none
	}{
		{name: "both good", change: func(t *testing.T, w *world) {}},
		{name: "TLS 1.2", change: func(t *testing.T, w *world) {
			w.up.CommonTlsContext.TlsParams = &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, CipherSuites: []string{"[ECDHE-ECDSA-CHACHA20-POLY1305|ECDHE-RSA-CHACHA20-POLY1305]"}}
		}},
		{name: "no client certificate", change: func(t *testing.T, w *world) { w.up.CommonTlsContext.TlsCertificateSdsSecretConfigs = nil },
			down: "client didn't provide a certificate", up: "certificate required"},
		{name: "no client certificate and none required", change: func(t *testing.T, w *world) {
			w.up.CommonTlsContext.TlsCertificateSdsSecretConfigs = nil
			w.down.RequireClientCertificate = nil
		}},
		{name: "client of another authority", change: func(t *testing.T, w *world) {
			w.update(t, certSecret("client", other.issue(t, leaf{name: spiffe})))
			w.down.RequireClientCertificate = nil // but if there is one it must be good
		}, down: "unknown authority", up: "bad certificate"},
		{name: "server of another authority", change: func(t *testing.T, w *world) {
			w.update(t, certSecret("server", other.issue(t, leaf{name: "www.example.com"})))
		},
			down: "bad certificate", up: "unknown authority"},
		{name: "expired client", change: func(t *testing.T, w *world) {
			w.update(t, certSecret("client", w.ca.issue(t, leaf{name: spiffe, expired: true})))
		},
			down: "expired", up: "bad certificate"},
		{name: "expired client that is taken", change: func(t *testing.T, w *world) {
			w.update(t, certSecret("client", w.ca.issue(t, leaf{name: spiffe, expired: true})))
			v := w.ca.trusts()
			v.AllowExpiredCertificate = true
			w.update(t, trustSecret("ROOTCA", v))
		}},
		{name: "expired server", change: func(t *testing.T, w *world) {
			w.update(t, certSecret("server", w.ca.issue(t, leaf{name: "x", expired: true})))
		},
			down: "bad certificate", up: "expired"},
		{name: "a server's certificate as the client's", change: func(t *testing.T, w *world) {
			w.update(t, certSecret("client", w.ca.issue(t, leaf{name: spiffe, usage: x509.ExtKeyUsageServerAuth})))
		}, down: "incompatible key usage", up: "bad certificate"},
		{name: "the identity", change: func(t *testing.T, w *world) { w.update(t, trustSecret("ROOTCA", w.ca.trusts(uri("x"), uri(spiffe)))) },
			down: "bad certificate", up: "none of the names that are wanted, but www.example.com"},
		{name: "another identity", change: func(t *testing.T, w *world) {
			w.down.CommonTlsContext.ValidationContextType = combined(uri(spiffe + "x"))
		},
			down: "none of the names", up: "bad certificate"},
		{name: "the identity, combined", change: func(t *testing.T, w *world) { w.down.CommonTlsContext.ValidationContextType = combined(uri(spiffe)) }},
		{name: "SNI is checked", change: func(t *testing.T, w *world) { w.up.AutoSniSanValidation = true }},
		{name: "SNI is another", change: func(t *testing.T, w *world) { w.up.AutoSniSanValidation, w.up.Sni = true, "example.com" }, down: "bad certificate", up: "not example.com"},
		{name: "secret missing at the server", change: func(t *testing.T, w *world) { w.secrets.Remove("server") }, down: "secret server is not there", up: "internal error"},
		{name: "trust missing at the server", change: func(t *testing.T, w *world) {
			w.down.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: sds("none")}
		}, down: "secret none is not there", up: "internal error"},
		{name: "secret missing at the client", change: func(t *testing.T, w *world) { w.secrets.Remove("client") }, down: "EOF", up: "secret client is not there"},
		{name: "secret of another kind", change: func(t *testing.T, w *world) { w.update(t, trustSecret("server", w.ca.trusts())) }, down: "is no certificate", up: "internal error"},
		{name: "revoked client", change: func(t *testing.T, w *world) {
			v := w.ca.trusts()
			v.Crl = inline(w.ca.revokes(t, time.Now().Add(time.Hour), certOf(t, w.ca.issue(t, leaf{})).SerialNumber.Int64()-1))
			w.down.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
		}, down: "is revoked", up: "bad certificate"},
		{name: "nobody revoked", change: func(t *testing.T, w *world) { crl(t, w, w.ca, time.Hour) }},
		{name: "revocation list too old", change: func(t *testing.T, w *world) { crl(t, w, w.ca, -time.Minute) }, down: "no current revocation list", up: "bad certificate"},
		{name: "revocation list of another", change: func(t *testing.T, w *world) { crl(t, w, other, time.Hour) }, down: "no current revocation list", up: "bad certificate"},
		{name: "pinned", change: func(t *testing.T, w *world) {
			c := w.ca.issue(t, leaf{name: spiffe})
			w.update(t, certSecret("client", c))
			sum := sha256.Sum256(certOf(t, c).Raw)
			pin(w, hex.EncodeToString(sum[:]), "")
		}},
		{name: "key pinned", change: func(t *testing.T, w *world) {
			c := w.ca.issue(t, leaf{name: spiffe})
			w.update(t, certSecret("client", c))
			sum := sha256.Sum256(certOf(t, c).RawSubjectPublicKeyInfo)
			pin(w, strings.Repeat("00", 32), base64.StdEncoding.EncodeToString(sum[:]))
		}},
		{name: "not pinned", change: func(t *testing.T, w *world) { pin(w, strings.Repeat("00", 32), "") }, down: "not one of those that are pinned", up: "bad certificate"},
		{name: "untrusted and taken", change: func(t *testing.T, w *world) {
			v := other.trusts()
			v.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
			w.down.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
		}},
		{name: "server that nobody checks", change: func(t *testing.T, w *world) {
			w.update(t, certSecret("server", other.issue(t, leaf{name: "x", expired: true})))
			w.up.CommonTlsContext.ValidationContextType = nil
		}},
		{name: "version", change: func(t *testing.T, w *world) {
			w.down.CommonTlsContext.TlsParams = &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}
			w.up.CommonTlsContext.TlsParams = &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_2}
		}, down: "unsupported versions", up: "protocol version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.change(t, w)
			down, _, downErr, upErr := meet(t, w.server(t), w.client(t), HandshakeOptions{})
			wantError(t, "server", downErr, tt.down)
			wantError(t, "client", upErr, tt.up)
			if why, ok := reasons[tt.name]; ok && (FailureOf(downErr) != why.down || FailureOf(upErr) != why.up) {
				t.Errorf("counted as %v at the server and %v at the client, want %v", FailureOf(downErr), FailureOf(upErr), why)
			}
			if tt.down == "" && w.down.GetRequireClientCertificate().GetValue() && len(down.PeerCertificates) == 0 {
				t.Error("no peer certificate")
			}
		})
	}
}

// reasons are how some of the failures are counted.
var reasons = map[string]struct{ down, up Failure }{
	"expired server":                         {PeerRefused, Expired},
	"a server's certificate as the client's": {BadCertificate, PeerRefused},
	"the identity":                           {PeerRefused, WrongName},
	"another identity":                       {WrongName, PeerRefused},
	"SNI is another":                         {PeerRefused, WrongName},
	"secret missing at the server":           {NoSecret, PeerRefused},
	"secret missing at the client":           {PeerGone, NoSecret},
	"revoked client":                         {BadCertificate, PeerRefused},
	"version":                                {WrongVersion, PeerRefused},
}

func combined(names ...*tlsv3.SubjectAltNameMatcher) *tlsv3.CommonTlsContext_CombinedValidationContext {
	return &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
		DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: names},
		ValidationContextSdsSecretConfig: sds("ROOTCA"),
	}}
}

func crl(t *testing.T, w *world, from *authority, until time.Duration) {
	v := w.ca.trusts()
	v.Crl = inline(from.revokes(t, time.Now().Add(until), 999))
	w.down.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
}

func pin(w *world, hash, spki string) {
	v := w.ca.trusts()
	v.VerifyCertificateHash = []string{hash}
	if spki != "" {
		v.VerifyCertificateSpki = []string{spki}
	}
	w.down.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
}

func wantError(t *testing.T, who string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v; want %q", who, err, want)
	}
}

// A new certificate is that of the next handshake, and connections that are open do not notice.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	s, c := w.server(t), w.client(t)
	_, first, _, err := meet(t, s, c, HandshakeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changed := w.secrets.Changed()
	w.update(t, certSecret("server", w.ca.issue(t, leaf{name: "www.example.com"})))
	select {
	case <-changed:
	default:
		t.Error("nobody is told of the change")
	}
	before := s.get()
	w.update(t, certSecret("another", w.ca.issue(t, leaf{name: "x"})))
	if s.get() != before {
		t.Error("a Secret that it does not use makes a context anew")
	}
	w.up.MaxSessionKeys = wrapperspb.UInt32(0)
	_, second, _, err := meet(t, s, w.client(t), HandshakeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if first.PeerCertificates[0].Equal(second.PeerCertificates[0]) {
		t.Error("the old certificate is still shown")
	}
	if err := w.secrets.Update(certSecret("server", &tlsv3.TlsCertificate{CertificateChain: inline([]byte("x")), PrivateKey: inline([]byte("secret"))})); err == nil || strings.Contains(err.Error(), "secret\"") {
		t.Errorf("a bad certificate: %v", err)
	}
	if _, third, _, err := meet(t, s, w.client(t), HandshakeOptions{}); err != nil || !third.PeerCertificates[0].Equal(second.PeerCertificates[0]) {
		t.Errorf("a bad certificate does not leave the old one: %v", err)
	}
}

// Sessions are resumed across versions of a context and of its own certificate, and not across trust; what a peer must be is asked again each time.
func TestResumption(t *testing.T) {
	for _, maximum := range []tlsv3.TlsParameters_TlsProtocol{tlsv3.TlsParameters_TLSv1_2, tlsv3.TlsParameters_TLSv1_3} {
		t.Run(maximum.String(), func(t *testing.T) {
			w := newWorld(t)
			w.up.CommonTlsContext.TlsParams = &tlsv3.TlsParameters{TlsMaximumProtocolVersion: maximum}
			// The client's trust is its own, so that it is left alone.
			w.up.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: w.ca.trusts()}
			c := w.client(t)
			resumed := func(s *Server, want bool) {
				t.Helper()
				down, up, downErr, upErr := meet(t, s, c, HandshakeOptions{})
				if downErr != nil || upErr != nil {
					t.Fatal(downErr, upErr)
				}
				if down.DidResume != want || up.DidResume != want {
					t.Errorf("resumed: %v and %v, want %v", down.DidResume, up.DidResume, want)
				}
			}
			resumed(w.server(t), false)
			resumed(w.server(t), true) // another version of the context
			w.update(t, certSecret("server", w.ca.issue(t, leaf{name: "www.example.com"})))
			resumed(w.server(t), true)
			w.down.CommonTlsContext.ValidationContextType = combined(uri(spiffe))
			s := w.server(t)
			resumed(s, false)
			resumed(s, true)
			// The same ticket keys, and yet nobody is let in who is not good now.
			crl := w.ca.trusts()
			crl.Crl = inline(w.ca.revokes(t, time.Now().Add(time.Hour), 3))
			hostile := s.get()
			v, err := newVerifier(crl)
			if err != nil {
				t.Fatal(err)
			}
			for _, config := range []*cryptotls.Config{hostile.with, hostile.without} {
				s.authenticate(config, v)
			}
			if _, _, err, _ := meet(t, s, c, HandshakeOptions{}); err == nil || !strings.Contains(err.Error(), "is revoked") {
				t.Errorf("a resumed session: %v", err)
			}
		})
	}
}

func TestALPN(t *testing.T) {
	w := newWorld(t)
	w.down.CommonTlsContext.AlpnProtocols = []string{"h2", "http/1.1"}
	s, c := w.server(t), w.client(t)
	for _, tt := range []struct {
		offer []string
		want  string
	}{
		{[]string{"http/1.1", "h2"}, "h2"},
		{[]string{"http/1.1"}, "http/1.1"},
		{[]string{"istio-peer-exchange", "istio"}, ""},
		{nil, ""},
	} {
		_, up, downErr, upErr := meet(t, s, c, HandshakeOptions{ALPN: tt.offer})
		if downErr != nil || upErr != nil || up.NegotiatedProtocol != tt.want {
			t.Errorf("%v: %q, %v, %v", tt.offer, up.NegotiatedProtocol, downErr, upErr)
		}
	}
}

func TestSNI(t *testing.T) {
	w := newWorld(t)
	w.up.AutoHostSni = true
	s, c := w.server(t), w.client(t)
	for _, tt := range []struct {
		o    HandshakeOptions
		want string
	}{
		{HandshakeOptions{}, "www.example.com"},
		{HandshakeOptions{SNI: "a"}, "a"},
		{HandshakeOptions{SNI: "a", HostSNI: "b"}, "b"},
	} {
		down, _, _, err := meet(t, s, c, tt.o)
		if err != nil || down.ServerName != tt.want {
			t.Errorf("%+v: %q, %v", tt.o, down.ServerName, err)
		}
	}
}

// The certificate is one that the client can use, and the one for its name if there is one.
func TestPick(t *testing.T) {
	w := newWorld(t)
	w.down.RequireClientCertificate = nil
	w.down.CommonTlsContext.TlsCertificateSdsSecretConfigs = nil
	w.down.CommonTlsContext.TlsCertificates = []*tlsv3.TlsCertificate{
		w.ca.issue(t, leaf{name: "a"}), w.ca.issue(t, leaf{name: "b"}), w.ca.issue(t, leaf{name: "a", rsa: true})}
	s := w.server(t)
	for _, tt := range []struct{ sni, cipher, name, key string }{
		{"a", "", "a", "ECDSA"}, {"b", "", "b", "ECDSA"}, {"c", "", "a", "ECDSA"}, {"a", "ECDHE-RSA-AES128-GCM-SHA256", "a", "RSA"}, {"b", "ECDHE-RSA-AES128-GCM-SHA256", "a", "RSA"},
	} {
		w.up.Sni = tt.sni
		w.up.CommonTlsContext.TlsParams = nil
		if tt.cipher != "" {
			w.up.CommonTlsContext.TlsParams = &tlsv3.TlsParameters{TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, CipherSuites: []string{tt.cipher}}
		}
		_, up, downErr, upErr := meet(t, s, w.client(t), HandshakeOptions{})
		if downErr != nil || upErr != nil {
			t.Fatal(tt, downErr, upErr)
		}
		got := up.PeerCertificates[0]
		if got.DNSNames[0] != tt.name || got.PublicKeyAlgorithm.String() != tt.key {
			t.Errorf("%+v: %s, %s", tt, got.DNSNames, got.PublicKeyAlgorithm)
		}
	}
}

func TestNames(t *testing.T) {
	ca := newAuthority(t, "ca")
	str := func(p string) *matcherv3.StringMatcher {
		kind, text, _ := strings.Cut(p, " ")
		switch kind {
		case "prefix":
			return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: text}}
		case "suffix":
			return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: text}}
		case "regex":
			return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: text}}}
		}
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: text}}
	}
	const dns, url, ip = tlsv3.SubjectAltNameMatcher_DNS, tlsv3.SubjectAltNameMatcher_URI, tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	for _, tt := range []struct {
		cert, matcher string
		kind          tlsv3.SubjectAltNameMatcher_SanType
		want          bool
	}{
		{"a.example.com", "exact a.example.com", dns, true},
		{"a.example.com", "exact b.example.com", dns, false},
		{"*.example.com", "exact b.example.com", dns, true},
		{"*.example.com", "exact c.b.example.com", dns, false},
		{"*.example.com", "exact example.com", dns, false},
		{"a.example.com", "exact *.example.com", dns, false},
		{"a.example.com", "exact a.example.com", url, false},
		{"a.example.com", "exact a.example.com", 0, true},
		{spiffe, "prefix spiffe://cluster.local/ns/default/", url, true},
		{spiffe, "suffix /sa/other", url, false},
		{spiffe, "regex spiffe://[^/]*/ns/default/sa/.*", url, true},
		{spiffe, "regex default", url, false},
		{"10.0.0.1", "exact 10.0.0.1", ip, true},
		{"2001:db8::1", "exact 2001:db8::1", ip, true},
	} {
		v := ca.trusts(&tlsv3.SubjectAltNameMatcher{SanType: tt.kind, Matcher: str(tt.matcher)})
		if tt.kind == 0 {
			v = ca.trusts()
			v.MatchSubjectAltNames = []*matcherv3.StringMatcher{str(tt.matcher)} //nolint:staticcheck // deprecated, and still sent
		}
		compiled, err := newVerifier(v)
		if err != nil {
			t.Fatal(err)
		}
		chain := []*x509.Certificate{certOf(t, ca.issue(t, leaf{name: tt.cert}))}
		if err := compiled.verify(chain, x509.ExtKeyUsageClientAuth, time.Now()); (err == nil) != tt.want {
			t.Errorf("%s against %s: %v", tt.matcher, tt.cert, err)
		}
	}
}

// What is refused names the field, and nothing is let through that would mean less security than was asked for.
func TestRefused(t *testing.T) {
	ca := newAuthority(t, "ca")
	good := ca.issue(t, leaf{name: "x"})
	server := func(change func(*tlsv3.DownstreamTlsContext)) error {
		m := &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{proto.CloneOf(good)}}}
		change(m)
		_, err := NewServer(m, NewSecrets())
		return err
	}
	client := func(m *tlsv3.UpstreamTlsContext) error {
		_, err := NewClient(m, NewSecrets())
		return err
	}
	if err := server(func(*tlsv3.DownstreamTlsContext) {}); err != nil {
		t.Fatal(err)
	}
	params := func(p *tlsv3.TlsParameters) func(*tlsv3.DownstreamTlsContext) {
		return func(m *tlsv3.DownstreamTlsContext) { m.CommonTlsContext.TlsParams = p }
	}
	validation := func(v *tlsv3.CertificateValidationContext) func(*tlsv3.DownstreamTlsContext) {
		return func(m *tlsv3.DownstreamTlsContext) {
			m.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
		}
	}
	for _, tt := range []struct {
		want string
		err  error
	}{
		{"common_tls_context: no TLS context", server(func(m *tlsv3.DownstreamTlsContext) { m.CommonTlsContext = nil })},
		{"common_tls_context: a server without a certificate", server(func(m *tlsv3.DownstreamTlsContext) { m.CommonTlsContext.TlsCertificates = nil })},
		{"require_client_certificate: nothing says", server(func(m *tlsv3.DownstreamTlsContext) { m.RequireClientCertificate = wrapperspb.Bool(true) })},
		{"ocsp_staple_policy: this proxy does not know it", server(func(m *tlsv3.DownstreamTlsContext) {
			m.OcspStaplePolicy = tlsv3.DownstreamTlsContext_MUST_STAPLE
		})},
		{"common_tls_context.tls_params.cipher_suites[1]: NULL-SHA", server(params(&tlsv3.TlsParameters{CipherSuites: []string{"AES128-SHA", "NULL-SHA"}}))},
		{"common_tls_context.tls_params.ecdh_curves[0]: X448", server(params(&tlsv3.TlsParameters{EcdhCurves: []string{"X448"}}))},
		{"common_tls_context.tls_params.tls_minimum_protocol_version: is above", server(params(&tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_2}))},
		{"common_tls_context.tls_params.compliance_policies", server(params(&tlsv3.TlsParameters{CompliancePolicies: []tlsv3.TlsParameters_CompliancePolicy{0}}))},
		{"common_tls_context.key_log", server(func(m *tlsv3.DownstreamTlsContext) { m.CommonTlsContext.KeyLog = &tlsv3.TlsKeyLog{Path: "x"} })},
		{"common_tls_context.tls_certificates[0].private_key: is not that of the certificate", server(func(m *tlsv3.DownstreamTlsContext) {
			m.CommonTlsContext.TlsCertificates[0].PrivateKey = ca.issue(t, leaf{name: "x"}).PrivateKey
		})},
		{"common_tls_context.tls_certificates[0].certificate_chain: no certificate in PEM", server(func(m *tlsv3.DownstreamTlsContext) {
			m.CommonTlsContext.TlsCertificates[0].CertificateChain = inline([]byte("x"))
		})},
		{"common_tls_context.tls_certificates[0].password", server(func(m *tlsv3.DownstreamTlsContext) {
			m.CommonTlsContext.TlsCertificates[0].Password = inline([]byte("x"))
		})},
		{"common_tls_context.validation_context.trusted_ca: no certificate in PEM", server(validation(&tlsv3.CertificateValidationContext{TrustedCa: inline([]byte("x"))}))},
		{"common_tls_context.validation_context.match_typed_subject_alt_names: names are believed only", server(validation(&tlsv3.CertificateValidationContext{
			MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{uri("x")}}))},
		{"common_tls_context.validation_context.crl: no list", server(validation(&tlsv3.CertificateValidationContext{TrustedCa: ca.source(), Crl: inline([]byte("x"))}))},
		{"common_tls_context.validation_context.verify_certificate_hash[0]: no SHA-256", server(validation(&tlsv3.CertificateValidationContext{VerifyCertificateHash: []string{"00"}}))},
		{"common_tls_context.validation_context.custom_validator_config", server(validation(&tlsv3.CertificateValidationContext{CustomValidatorConfig: &corev3.TypedExtensionConfig{Name: "x"}}))},
		{"session_ticket_keys.keys[0]: a key has 80 bytes", server(func(m *tlsv3.DownstreamTlsContext) {
			m.SessionTicketKeysType = &tlsv3.DownstreamTlsContext_SessionTicketKeys{SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{inline([]byte("x"))}}}
		})},
		{"common_tls_context: a client has one certificate", client(&tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{good, good}}})},
		{"auto_sni_san_validation: nothing says", client(&tlsv3.UpstreamTlsContext{AutoSniSanValidation: true})},
		{"secret without a name", NewSecrets().Update(&tlsv3.Secret{})},
		{`secret "x": not of a type`, NewSecrets().Update(&tlsv3.Secret{Name: "x"})},
		{`secret "x": tls_certificate.private_key: is missing`, NewSecrets().Update(certSecret("x", &tlsv3.TlsCertificate{CertificateChain: good.CertificateChain}))},
		{`secret "x": tls_certificate.private_key: is no unencrypted`, NewSecrets().Update(certSecret("x", &tlsv3.TlsCertificate{CertificateChain: good.CertificateChain, PrivateKey: inline([]byte("hunter2"))}))},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("got %v, want %s", tt.err, tt.want)
		}
		if tt.err != nil && strings.Contains(tt.err.Error(), "hunter2") {
			t.Errorf("a key in an error: %v", tt.err)
		}
	}
}

func TestSources(t *testing.T) {
	ca := newAuthority(t, "ca")
	m := ca.issue(t, leaf{name: "x"})
	dir := t.TempDir()
	file := func(name string, b []byte) *corev3.DataSource {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
	}
	m.CertificateChain = file("tls.crt", m.CertificateChain.GetInlineBytes())
	m.PrivateKey = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: string(m.PrivateKey.GetInlineBytes())}}
	if _, err := newCertificate(m); err != nil {
		t.Error(err)
	}
	m.CertificateChain = &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: filepath.Join(dir, "none")}}
	if _, err := newCertificate(m); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "certificate_chain: ") {
		t.Error(err)
	}
	v, err := newVerifier(&tlsv3.CertificateValidationContext{SystemRootCerts: &tlsv3.CertificateValidationContext_SystemRootCerts{}})
	if err != nil || v.roots == nil {
		t.Error(err)
	}
}

func TestTicketKeys(t *testing.T) {
	var s ticketStore
	now := time.Now()
	a, b := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
	first, until := s.keys(a, now)
	if again, _ := s.keys(a, now.Add(ticketRotation-1)); again[0] != first[0] || !until.Equal(now.Add(ticketRotation)) {
		t.Error("not kept")
	}
	if other, _ := s.keys(b, now); other[0] == first[0] {
		t.Error("shared with other trust")
	}
	second, _ := s.keys(a, until)
	if len(second) != 2 || second[0] == first[0] || second[1] != first[0] {
		t.Error("not rotated")
	}
	if third, _ := s.keys(a, until.Add(3*ticketRotation)); len(third) != 1 {
		t.Error("an old key lives on")
	}
	for i := range 3 * maxTicketKeys {
		s.keys(sha256.Sum256([]byte{byte(i), byte(i >> 8)}), now)
	}
	if len(s.byContext) > maxTicketKeys {
		t.Errorf("%d contexts are remembered", len(s.byContext))
	}
}
