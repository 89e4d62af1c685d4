// Package uplink is the connection from a proxy to its control plane: whom it trusts, what it shows, and the token that each call is authenticated with.
//
// It owns no connection: who dials closes. It never sends a token over a connection that others can read, and keeps none in memory.
package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/weftmesh/weft/internal/proxy/bootstrap"
)

// maxMessageBytes is how large one response may be.
const maxMessageBytes = 256 << 20

// Check says what is wrong with a server's description, beside what only connecting shows. local says that it is in this process.
func Check(s *bootstrap.XDS, local bool) error {
	if s == nil || s.Address == "" && !local {
		return errors.New("no server")
	}
	if s.TokenFile != "" && s.Plaintext && !local && !strings.HasPrefix(s.Address, "unix:") {
		return errors.New("a token is not sent over a connection that others can read")
	}
	return nil
}

// Dial makes the connection for a few calls. Files are read anew each time: certificates and tokens are replaced while we run. dial replaces connecting to
// the server's address, for one in this process; nil connects. The caller closes it.
func Dial(s *bootstrap.XDS, dial func(context.Context) (net.Conn, error)) (*grpc.ClientConn, error) {
	creds, err := transport(s)
	if err != nil {
		return nil, err
	}
	target := s.Address
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)),
		// A server that went without a word is noticed within a minute, also by a middlebox that forgets quiet connections.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
	}
	if dial != nil {
		target = "passthrough:///in-process"
		options = append(options, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	}
	if s.TokenFile != "" {
		options = append(options, grpc.WithPerRPCCredentials(token{s.TokenFile, !s.Plaintext}))
	}
	return grpc.NewClient(target, options...)
}

func transport(s *bootstrap.XDS) (credentials.TransportCredentials, error) {
	if s.Plaintext {
		return insecure.NewCredentials(), nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.ServerName}
	ca := s.CA
	if s.CAFile != "" {
		var err error
		if ca, err = os.ReadFile(s.CAFile); err != nil {
			return nil, err
		}
	}
	if ca != nil {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("there is no certificate among those to trust: " + s.CAFile)
		}
	}
	if s.CertFile != "" {
		own, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, err
		}
		t.Certificates = []tls.Certificate{own}
	}
	return credentials.NewTLS(t), nil
}

// token authenticates a stream with what a file holds at that time: a projected service account token is renewed long before it expires.
type token struct {
	file   string
	secure bool
}

// GetRequestMetadata gives the header field of a new stream.
func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	text, err := os.ReadFile(t.file)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(text))}, nil
}

// RequireTransportSecurity is true where the connection leaves this machine.
func (t token) RequireTransportSecurity() bool { return t.secure }
