package h2spec

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy/http2/transport"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// ok answers every request when it has read it.
type ok struct{}

func (ok) ServeExchange(s message.ServerStream) {
	buf := make([]byte, 1024)
	for {
		if _, err := s.Read(buf); err == io.EOF {
			break
		} else if err != nil {
			s.Abort(message.Internal)
			return
		}
	}
	r := message.Response{Status: 200}
	r.Fields.Add("content-type", "text/plain")
	if s.WriteHead(&r, message.Unknown) == nil {
		if _, err := s.Write([]byte("hello, h2spec\n")); err == nil {
			s.Finish(nil)
		}
	}
}

// listen serves with our transport alone.
func listen(t *testing.T, config *tls.Config) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { transport.Serve(ctx, nc, ok{}, transport.Options{}) })
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

func TestTransport(t *testing.T) {
	Run(t, Target{Addr: listen(t, nil)})
}

func TestTransportTLS(t *testing.T) {
	Run(t, Target{Addr: listen(t, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2"}}), TLS: true})
}

func certificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
