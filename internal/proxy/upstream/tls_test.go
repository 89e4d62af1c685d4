package upstream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	cryptotls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/tls"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(crand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate for a name, as certificate and key in PEM.
func (a *authority) issue(t testing.TB, name string, serial int64) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(crand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// secure is a backend with TLS that wants a client certificate, and tells what it saw.
type secure struct {
	member
	conns   atomic.Int64
	serials sync.Map // of client certificates, by number
	names   sync.Map // SNI
}

func serveTLS(t testing.TB, ca *authority, name string, protocols ...string) *secure {
	t.Helper()
	pair, err := cryptotls.X509KeyPair(ca.issue(t, name, 2))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &secure{member: member{addr: "127.0.0.1", port: l.Addr().(*net.TCPAddr).Port}}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if len(r.TLS.PeerCertificates) > 0 {
				b.serials.Store(r.TLS.PeerCertificates[0].SerialNumber.Int64(), true)
			}
			b.names.Store(r.TLS.ServerName, true)
			w.Header().Set("x-protocol", r.Proto)
			echo(w, r)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				b.conns.Add(1)
			}
		},
		TLSConfig: &cryptotls.Config{Certificates: []cryptotls.Certificate{pair}, ClientCAs: pool, ClientAuth: cryptotls.VerifyClientCertIfGiven, NextProtos: protocols},
	}
	s.Protocols = new(http.Protocols)
	for _, p := range protocols {
		s.Protocols.SetHTTP1(s.Protocols.HTTP1() || p == "http/1.1")
		s.Protocols.SetHTTP2(s.Protocols.HTTP2() || p == "h2")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return b
}

// clientSecret is the Secret "client" with a certificate of a serial number.
func clientSecret(t testing.TB, ca *authority, serial int64) *tlsv3.Secret {
	t.Helper()
	cert, key := ca.issue(t, "client.test", serial)
	return parse(t, &tlsv3.Secret{}, `{"name": "client", "tls_certificate": {"certificate_chain": {"inline_string": %q}, "private_key": {"inline_string": %q}}}`, cert, key)
}

// socketTLS is a transport socket that trusts ca, with more fields.
func socketTLS(ca *authority, common, more string) string {
	return fmt.Sprintf(`{"name": "tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
		"common_tls_context": {"validation_context": {"trusted_ca": {"inline_string": %q}} %s} %s}}`, ca.pem, common, more)
}

func protocolOptions(which, more string) string {
	return fmt.Sprintf(`"typed_extension_protocol_options": {%q: {"@type": "type.googleapis.com/%s", %s %s}}`, httpOptions, httpOptions, which, more)
}

// auto_config speaks what ALPN gives, with one connection for those who come at once if that is HTTP/2.
func TestNegotiated(t *testing.T) {
	ca := newAuthority(t)
	for _, tc := range []struct {
		offered []string
		http2   int64
	}{{[]string{"h2", "http/1.1"}, 1}, {[]string{"http/1.1"}, 0}} {
		b := serveTLS(t, ca, "server.test", tc.offered...)
		c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, `"transport_socket": `+socketTLS(ca, ``, `, "sni": "server.test"`)+
			`, `+protocolOptions(`"auto_config": {}`, ``)), assignmentOf(t, b.member))
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 10 {
					body := bytes.Repeat([]byte{'x'}, 1000)
					if _, got, err := ask(t.Context(), c, "POST", body, 1000, &PickContext{}); err != nil || !bytes.Equal(got, body) {
						t.Errorf("%v: %v", tc.offered, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if n := stat(c, "upstream_cx_http2_total"); n != tc.http2 {
			t.Errorf("%v: %d HTTP/2 connections", tc.offered, n)
		}
		if n, m := stat(c, "upstream_cx_http1_total"), stat(c, "upstream_cx_total"); n+tc.http2 != m {
			t.Errorf("%v: %d HTTP/1 connections of %d", tc.offered, n, m)
		}
		if n := c.breakers[Default].connections.Load(); n != stat(c, "upstream_cx_active") {
			t.Errorf("%v: the breaker counts %d of %d connections", tc.offered, n, stat(c, "upstream_cx_active"))
		}
	}
}

// With auto_sni requests for different hosts go over different connections, each with its name.
func TestAutoSNI(t *testing.T) {
	ca := newAuthority(t)
	b := serveTLS(t, ca, "one.test", "http/1.1")
	s := newSet(t, Options{})
	cluster := func(validate bool) string {
		return `"transport_socket": ` + socketTLS(ca, ``, ``) + `, ` + protocolOptions(`"explicit_http_config": {"http_protocol_options": {}},
			"upstream_http_protocol_options": {"auto_sni": true, "auto_san_validation": `+strconv.FormatBool(validate)+`}`, ``)
	}
	get := func(c *Cluster, host string) error {
		st, _, err := c.Start(t.Context(), &message.Request{Method: "GET", Scheme: "https", Authority: host, Path: "/"}, 0, &PickContext{})
		if err != nil {
			return err
		}
		_, _, err = finish(st, nil, 0)
		st.Close(message.Done)
		return err
	}
	c := mustUpdate(t, s, edsCluster(t, cluster(false)), assignmentOf(t, b.member))
	for range 3 {
		for _, host := range []string{"one.test", "two.test:443", "127.0.0.1:1"} {
			if err := get(c, host); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
	for _, name := range []string{"one.test", "two.test", ""} {
		if _, ok := b.names.Load(name); !ok {
			t.Errorf("the name %q was not sent", name)
		}
	}
	if n := b.conns.Load(); n != 3 {
		t.Errorf("%d connections for 3 names", n)
	}
	mustUpdate(t, s, edsCluster(t, cluster(true)), nil)
	if err := get(c, "one.test"); err != nil {
		t.Error(err)
	}
	if err := get(c, "two.test"); err == nil {
		t.Error("a certificate for another name was good enough")
	}
}

// A certificate that is rotated is used by new connections; those there are stay, and no request notices. Where requests go by metadata
// (transport_socket_matches), plain endpoints are spoken to in clear.
func TestRotation(t *testing.T) {
	ca := newAuthority(t)
	secrets := tls.NewSecrets()
	if err := secrets.Update(clientSecret(t, ca, 100)); err != nil {
		t.Fatal(err)
	}
	b, plain := serveTLS(t, ca, "server.test", "http/1.1"), serve(t, echo)
	mutual := b.member
	mutual.metadata = `{"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}}`
	c := mustUpdate(t, newSet(t, Options{Secrets: secrets}), edsCluster(t, `"transport_socket_matches": [
			{"name": "mutual", "match": {"tlsMode": "istio"}, "transport_socket": `+
		socketTLS(ca, `, "tls_certificate_sds_secret_configs": [{"name": "client", "sds_config": {"ads": {}}}]`, `, "sni": "server.test"`)+`},
			{"name": "plain", "match": {}, "transport_socket": {"name": "envoy.transport_sockets.raw_buffer"}}], `+
		protocolOptions(`"explicit_http_config": {"http_protocol_options": {}}`, `, "common_http_protocol_options": {"max_requests_per_connection": 20}`)),
		assignmentOf(t, mutual, plain.member()))
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, got, err := ask(t.Context(), c, "POST", []byte("abc"), 3, &PickContext{}); err != nil || string(got) != "abc" {
					t.Errorf("%q %v", got, err)
					return
				}
			}
		})
	}
	for serial := int64(100); serial < 110; serial++ {
		if err := secrets.Update(clientSecret(t, ca, serial)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { _, ok := b.serials.Load(serial); return ok || t.Failed() }, fmt.Sprint("certificate ", serial, " is used"))
	}
	stop()
	wg.Wait()
	if plain.conns.Load() == 0 {
		t.Error("nothing went in clear")
	}
}

// A cluster may be told of before its Secrets: requests wait for them, within connect_timeout.
func TestSecretsAreWaitedFor(t *testing.T) {
	ca := newAuthority(t)
	secrets := tls.NewSecrets()
	b := serveTLS(t, ca, "server.test", "http/1.1")
	c := mustUpdate(t, newSet(t, Options{Secrets: secrets}), edsCluster(t, `"transport_socket": `+
		socketTLS(ca, `, "tls_certificate_sds_secret_configs": [{"name": "client", "sds_config": {"ads": {}}}]`, ``)), assignmentOf(t, b.member))
	got := make(chan error)
	go func() {
		_, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{})
		got <- err
	}()
	waitFor(t, func() bool { return stat(c, "upstream_rq_pending_active") == 1 }, "the request waits")
	if err := secrets.Update(clientSecret(t, ca, 7)); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if _, ok := b.serials.Load(int64(7)); !ok {
		t.Error("the certificate was not sent")
	}
}
