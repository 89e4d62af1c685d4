package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"sync"
	"time"
)

// serverLife is how long the certificate of the control plane itself is good.
const serverLife = 24 * time.Hour

// ServerConfig is how a server with these names or addresses shows itself. Its certificate is made anew long before it ends.
func (ca *CA) ServerConfig(names ...string) *tls.Config {
	return serverConfig(func() *CA { return ca }, names)
}

// ServerConfig is the same with the authority as it is when a client comes: it must have been loaded by then.
func (a *Authority) ServerConfig(names ...string) *tls.Config { return serverConfig(a.CA, names) }

func serverConfig(ca func() *CA, names []string) *tls.Config {
	s := &server{ca: ca, names: names}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.current() }}
}

type server struct {
	ca    func() *CA
	names []string

	mu   sync.Mutex
	by   *CA // who signed
	leaf *tls.Certificate
}

func (s *server) current() (*tls.Certificate, error) {
	ca := s.ca()
	if ca == nil {
		return nil, errNoAuthority
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaf != nil && s.by == ca && time.Until(s.leaf.Leaf.NotAfter) > serverLife/2 {
		return s.leaf, nil
	}
	leaf, err := ca.issue(s.names)
	if err != nil {
		return nil, err
	}
	s.leaf, s.by = leaf, ca
	return leaf, nil
}

func (ca *CA) issue(names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of a certificate: %w", err)
	}
	template, err := certificate(pkix.Name{CommonName: "weft-control", Organization: []string{"weft"}}, time.Now().Add(serverLife))
	if err != nil {
		return nil, err
	}
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.private)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, ca.between...), PrivateKey: key, Leaf: leaf}, nil
}
