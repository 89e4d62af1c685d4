package routing

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What happens while requests are made, and how many there are at least.
const (
	changes  = 1000
	requests = 50_000
)

// Routes, subsets, certificates and endpoints are changed again and again while clients go on asking, in clear text and over TLS, on connections
// that they keep: no request fails.
func TestChangesUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for a minute")
	}
	h := newHarness(t, "", nil)
	certificate, _, secret := makeCertificate(t)
	var endpoints []Endpoint
	for _, version := range []string{"v1", "v2"} {
		for i := range 3 {
			endpoints = append(endpoints, Endpoint{Name: fmt.Sprintf("%s-%d", version, i), Speaks: SpeaksHTTP, Addr: changing(version, i)})
		}
	}
	backends, err := StartBackends(t.Context(), endpoints, certificate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backends.Close)
	state := changingState{subset: [2]string{"v1", "v2"}, secret: secret}
	put := func(n int) {
		for name, text := range state.files(n) {
			part := filepath.Join(t.TempDir(), "part")
			if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(part, filepath.Join(h.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(-1)
	ports, args := bindings(t)
	h.start(t, h.weft, append([]string{"gateway", "-f", h.dir, "--namespace", fleetNamespace, "--admin-address", ""}, args...)...)
	dial := DialAt(ports)
	arrived := func(n int) {
		client := &Client{Dial: dial}
		q, err := request("GET http://marker.test/")
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(3 * time.Millisecond) {
			a, err := client.Ask(t.Context(), q)
			if err == nil && a.Body == fmt.Sprint(n) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("change %d does not arrive: %v %q %v", n, a.Status, a.Body, err)
			}
		}
	}
	arrived(-1)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load loadOf
	for _, kind := range []string{"http", "http", "https", "h2"} {
		load.running.Go(func() { load.ask(ctx, kind, ports) })
	}
	for n := range changes {
		state.change(t, n)
		put(n)
		arrived(n)
		if load.failed() != nil {
			break
		}
	}
	for load.done.Load() < requests && load.failed() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	load.running.Wait()
	if err := load.failed(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests during %d changes, none failed", load.done.Load(), changes)
}

// changing is the address of an endpoint.
func changing(version string, i int) netip.AddrPort {
	third := byte(1)
	if version == "v2" {
		third = 2
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 83, third, byte(i + 1)}), 18090)
}

// changingState is the objects as they are between two changes.
type changingState struct {
	subset [2]string // what the versions are called
	route  int
	slice  int // which endpoint is not there
	secret string
}

// change makes the next one.
func (s *changingState) change(t *testing.T, n int) {
	switch n % 4 {
	case 0:
		s.route++
	case 1:
		s.subset = [2]string{fmt.Sprintf("one-%d", n), fmt.Sprintf("two-%d", n)}
	case 2:
		_, _, s.secret = makeCertificate(t)
	default:
		s.slice++
	}
}

// files is the folder. The last one that is named holds the mark by which a change is seen to have arrived.
func (s *changingState) files(n int) map[string]string {
	var b strings.Builder
	b.WriteString(`
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.2.1, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
  - {port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: tls-test}, hosts: [secure.test]}
`)
	for _, version := range []string{"v1", "v2"} {
		for i := range 3 {
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s-%d, namespace: default, labels: {app: web, version: %s}}\n", version, i, version)
		}
	}
	b.WriteString("---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}\n" +
		"addressType: IPv4\nports: [{name: http, port: 18090}]\nendpoints:\n")
	for _, version := range []string{"v1", "v2"} {
		for i := range 3 {
			if i != s.slice%3 {
				fmt.Fprintf(&b, "- {addresses: [%s], targetRef: {kind: Pod, name: %s-%d, namespace: default}}\n", changing(version, i).Addr(), version, i)
			}
		}
	}
	fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web, namespace: default}\nspec: {host: web, subsets: [{name: %s, labels: {version: v1}}, {name: %s, labels: {version: v2}}]}\n",
		s.subset[0], s.subset[1])
	fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: default}
spec:
  hosts: [plain.test, secure.test]
  gateways: [public]
  http:
  - match: [{uri: {prefix: /%d}}]
    route: [{destination: {host: web, subset: %s}}]
  - rewrite: {uri: /%d}
    route: [{destination: {host: web, subset: %s}, weight: %d}, {destination: {host: web, subset: %s}, weight: %d}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker, namespace: default}
spec: {hosts: [marker.test], gateways: [public], http: [{directResponse: {status: 200, body: {string: "%d"}}}]}
---
`, s.route, s.subset[s.route%2], s.route, s.subset[0], s.route%100, s.subset[1], 100-s.route%100, n)
	return map[string]string{"objects.yaml": b.String() + s.secret}
}

// loadOf is clients that ask all the time.
type loadOf struct {
	running sync.WaitGroup
	done    atomic.Int64

	mu    sync.Mutex
	wrong error
}

func (l *loadOf) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrong
}

func (l *loadOf) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrong == nil {
		l.wrong = err
	}
}

// ask makes requests on connections that it keeps until something is wrong or ctx ends.
func (l *loadOf) ask(ctx context.Context, kind string, ports map[uint16]uint16) {
	url, port := "http://plain.test/x", ports[80]
	protocols := new(http.Protocols)
	switch kind {
	case "https":
		url, port = "https://secure.test/x", ports[443]
		protocols.SetHTTP1(true)
	case "h2":
		url, port = "https://secure.test/x", ports[443]
		protocols.SetHTTP2(true)
	default:
		protocols.SetHTTP1(true)
	}
	transport := &http.Transport{
		Protocols: protocols, MaxIdleConnsPerHost: 4,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // certificates change, names do not
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		},
	}
	defer transport.CloseIdleConnections()
	for ctx.Err() == nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			l.fail(err)
			return
		}
		response, err := transport.RoundTrip(r)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.fail(fmt.Errorf("%s, request %d: %w", kind, l.done.Load(), err))
			return
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if ctx.Err() != nil {
			return
		}
		if err != nil || response.StatusCode != http.StatusOK {
			l.fail(fmt.Errorf("%s, request %d: status %d %s: %w", kind, l.done.Load(), response.StatusCode, body, err))
			return
		}
		l.done.Add(1)
	}
}
