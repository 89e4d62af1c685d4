package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/internal/proxy/istioca"
	"github.com/weftmesh/weft/internal/redirect"
)

// check sees that a pair does what it is measured for: requests get through, over mutual TLS, for the identity that the policy names alone, and are
// counted on both sides.
func (p *peer) check(ctx context.Context, c *control) error {
	app := p.client.client(0, nil)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) { // until the configuration of both is there
		err := expect(ctx, app, serviceURL, serviceHost)
		if err == nil {
			break
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return err
		}
	}
	direct := net.JoinHostPort(serverAddress, strconv.Itoa(backendPort))
	if status, _, err := get(ctx, p.client.client(redirect.ProxyUID, nil), "http://"+direct+"/100", serviceHost); err == nil {
		return fmt.Errorf("the server's sidecar answers plaintext with status %d", status)
	}
	if status, _, err := get(ctx, p.client.client(redirect.ProxyUID, &tls.Config{}), "https://"+direct+"/100", serviceHost); err == nil {
		return fmt.Errorf("the server's sidecar answers a client without a certificate with status %d", status)
	}
	for account, want := range map[string]int{otherAccount: http.StatusForbidden, clientAccount: http.StatusOK} {
		cert, err := c.certificate(ctx, account)
		if err != nil {
			return err
		}
		status, _, err := get(ctx, p.client.client(redirect.ProxyUID, &tls.Config{Certificates: []tls.Certificate{cert}}), "https://"+direct+"/100", serviceHost)
		if err != nil {
			return fmt.Errorf("a client with the certificate of %s: %w", account, err)
		}
		if status != want {
			return fmt.Errorf("a client with the certificate of %s is answered with status %d, want %d", account, status, want)
		}
	}
	return p.checkCounters(ctx, app)
}

// expect asks for each file and looks at the answer.
func expect(ctx context.Context, client *http.Client, at, host string) error {
	for _, size := range sizes() {
		status, body, err := get(ctx, client, at+"/"+strconv.Itoa(size), host)
		if err != nil {
			return err
		}
		if status != http.StatusOK || len(body) != size {
			return fmt.Errorf("asked for %d bytes of %s: status %d and %d bytes: %.200s", size, host, status, len(body), body)
		}
	}
	return nil
}

// checkCounters makes requests and sees that both sidecars count them, and the server's policy as well.
func (p *peer) checkCounters(ctx context.Context, app *http.Client) error {
	const requests = 50
	counters := []counter{
		{p.client, regexp.MustCompile(`^istio_requests_total\{.*response_code="200"`)},
		{p.server, regexp.MustCompile(`^istio_requests_total\{.*response_code="200"`)},
		{p.server, regexp.MustCompile(`^weft_proxy_rbac_decisions_total\{.*result="allowed"`)},
	}
	if p.name == "envoy" {
		counters[0].samples = regexp.MustCompile(`^envoy_http_.*downstream_rq_xx\{.*class="2".*prefix="outbound`)
		counters[1].samples = regexp.MustCompile(`^envoy_http_.*downstream_rq_xx\{.*class="2".*prefix="inbound`)
		counters[2].samples = regexp.MustCompile(`^envoy_http_.*rbac_allowed\{.*prefix="inbound`)
	}
	before := make([]float64, len(counters))
	for i, c := range counters {
		var err error
		if before[i], err = c.read(ctx); err != nil {
			return err
		}
	}
	for range requests {
		if _, _, err := get(ctx, app, serviceURL+"/100", serviceHost); err != nil {
			return err
		}
	}
	for i, c := range counters {
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) { // Envoy adds up now and then
			after, err := c.read(ctx)
			if err != nil {
				return err
			}
			if after-before[i] >= requests {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("%v of the sidecar of %s grew by %.0f in %d requests", c.samples, c.of.account, after-before[i], requests)
			}
		}
	}
	return nil
}

// counter is the sum of some samples of a sidecar's metrics.
type counter struct {
	of      *pod
	samples *regexp.Regexp
}

func (c counter) read(ctx context.Context) (sum float64, err error) {
	_, body, err := get(ctx, c.of.client(0, nil), "http://127.0.0.1:15020/stats/prometheus", "")
	if err != nil {
		return 0, fmt.Errorf("metrics: %w", err)
	}
	for line := range strings.Lines(string(body)) {
		labels, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !c.samples.MatchString(labels) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// client asks from inside the Pod as a user, over TLS with config for https.
func (p *pod) client(uid int, config *tls.Config) *http.Client {
	if config != nil {
		config.InsecureSkipVerify = true //nolint:gosec // whom we talk to is not what is tried
		config.NextProtos = []string{"istio-http/1.1", "istio", "http/1.1"}
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: config,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return p.dial(ctx, uid, address) },
	}}
}

// get asks for a URL, of a host unless that is "".
func get(ctx context.Context, client *http.Client, at, host string) (status int, body []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	r.Host = host
	response, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// certificate gets what the authority gives to an account.
func (c *control) certificate(ctx context.Context, account string) (out tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return out, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return out, err
	}
	answer, err := c.issuer.CreateCertificate(metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+account)),
		&istioca.Request{CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))})
	if err != nil {
		return out, err
	}
	block, _ := pem.Decode([]byte(answer.Chain[0]))
	if block == nil {
		return out, errors.New("the authority gave no certificate")
	}
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}, nil
}
