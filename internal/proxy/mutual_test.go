package proxy_test

import (
	"bufio"
	cryptotls "crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// element gives an element of x-forwarded-client-cert, as the app of these tests echoes it.
func element(body, name string) string {
	for l := range strings.Lines(body) {
		for part := range strings.SplitSeq(strings.TrimPrefix(strings.TrimSpace(l), "x-forwarded-client-cert: "), ";") {
			if v, ok := strings.CutPrefix(part, name+"="); ok {
				return v
			}
		}
	}
	return ""
}

func TestMutualTLSPair(t *testing.T) {
	ca := newAuthority(t)
	server := newIdentity(t, ca, shop).start(t, []string{meshServer(false)}, []string{cluster("web", "", backend(t, echo)), cluster("bytes", "", bytesApp(t))})
	listeners, clusters := meshClient(server.addr("main"), shop)
	client := newIdentity(t, ca, cart).start(t, listeners, clusters)
	checkPair(t, client.addr)
}

// checkPair has the proxy of a client carry HTTP/1.1, HTTP/2 and bytes to that of a server.
func checkPair(t *testing.T, addr func(string) string) {
	t.Helper()
	for _, name := range []string{"http1", "http2"} {
		resp, body := ask(t, "GET", "http://"+addr(name)+"/"+name, nil, "x-forwarded-client-cert", "By=spiffe://forged;URI=spiffe://forged")
		if resp.StatusCode != 200 || element(body, "URI") != cart || element(body, "By") != shop || strings.Contains(body, "forged") {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
	}
	c, err := net.Dial("tcp", addr("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if got, err := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(got, "hello") || err != nil {
		t.Errorf("a server that speaks first: %q, %v", got, err)
	}
}

// bytesApp is an app that speaks first.
func bytesApp(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				greets(c)
			}()
		}
	}()
	return ln.Addr().String()
}

// Certificates change while connections go on; new handshakes show the new one.
func TestCertificatesRotate(t *testing.T) {
	ca := newAuthority(t)
	held, release := make(chan struct{}), make(chan struct{})
	b := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			held <- struct{}{}
			<-release
		}
		echo(w, r)
	})
	theirs, ours := newIdentity(t, ca, shop), newIdentity(t, ca, cart)
	server := theirs.start(t, []string{meshServer(false)}, []string{cluster("web", "", b), cluster("bytes", "", bytesApp(t))})
	listeners, clusters := meshClient(server.addr("main"), shop)
	client := ours.start(t, listeners, clusters)
	get := func() string {
		_, body := ask(t, "GET", "http://"+client.addr("http1")+"/", nil)
		return element(body, "Hash")
	}
	first := get()
	ours.put(t, certificate(ca.issue(cart, time.Hour)))
	theirs.put(t, certificate(ca.issue(shop, time.Hour)))
	if again := get(); again != first || first == "" {
		t.Errorf("the connection was not kept: %q, then %q", first, again)
	}
	// Connections that there are are held up, so a next request needs one of its own.
	var all []net.Conn
	for h := first; h == first; h = get() {
		hold, err := net.Dial("tcp", client.addr("http1"))
		if err != nil || len(all) == 10 {
			t.Fatalf("no new handshake, or it shows the old certificate: %v", err)
		}
		_, _ = io.WriteString(hold, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
		within(t, "the connection is held", held)
		all = append(all, hold)
	}
	close(release)
	for _, hold := range all {
		if status, err := bufio.NewReader(hold).ReadString('\n'); !strings.Contains(status, "200") {
			t.Errorf("what was under way while certificates changed: %q, %v", status, err)
		}
		_ = hold.Close()
	}
}

// Who does not belong to the mesh is refused, and counted by what was wrong.
func TestStrictRefuses(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	server := newIdentity(t, ca, shop).start(t, []string{meshServer(false)}, []string{cluster("web", "", backend(t, echo)), cluster("bytes", "", bytesApp(t))})
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	try := func(change func(*cryptotls.Config)) error {
		c := &cryptotls.Config{RootCAs: roots, InsecureSkipVerify: true, NextProtos: []string{"istio-http/1.1", "istio"}, Certificates: []cryptotls.Certificate{ca.pair(cart, time.Hour)}}
		change(c)
		conn, err := cryptotls.Dial("tcp", server.addr("main"), c)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
		_, err = io.ReadAll(conn)
		return err
	}
	if err := try(func(*cryptotls.Config) {}); err != nil {
		t.Fatalf("who belongs: %v", err)
	}
	for reason, change := range map[string]func(*cryptotls.Config){
		"unknown_ca":     func(c *cryptotls.Config) { c.Certificates = []cryptotls.Certificate{foreign.pair(cart, time.Hour)} },
		"expired":        func(c *cryptotls.Config) { c.Certificates = []cryptotls.Certificate{ca.pair(cart, -time.Minute)} },
		"no_certificate": func(c *cryptotls.Config) { c.Certificates = nil },
		"version":        func(c *cryptotls.Config) { c.MinVersion, c.MaxVersion = cryptotls.VersionTLS11, cryptotls.VersionTLS11 },
	} {
		series := `weft_proxy_downstream_handshake_failures_total{reason="` + reason + `"}`
		if got := server.metric(series); got != "0" {
			t.Errorf("%s before: %q", series, got)
		}
		if err := try(change); err == nil {
			t.Errorf("%s: let in", reason)
		}
		eventually(t, series+" is 1", func() bool { return server.metric(series) == "1" })
	}
	// In the clear, or in TLS that is not the mesh's: no chain.
	c, err := net.Dial("tcp", server.addr("main"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("in the clear: %q", got)
	}
	_ = c.Close()
	if err := try(func(c *cryptotls.Config) { c.NextProtos = []string{"http/1.1"} }); err == nil {
		t.Error("TLS that is not the mesh's: let in")
	}
	// A server of another identity is not spoken to.
	listeners, clusters := meshClient(server.addr("main"), cart)
	client := newIdentity(t, ca, cart).start(t, listeners, clusters)
	if resp, _ := ask(t, "GET", "http://"+client.addr("http1")+"/", nil); resp.StatusCode != 503 {
		t.Errorf("a server of another identity: %s", resp.Status)
	}
	if got := client.metric(`envoy_cluster_ssl_fail_verify_san{envoy_cluster_name="http1"}`); got == "0" || got == "" {
		t.Errorf("fail_verify_san: %q", got)
	}
}

// Istio's clients offer protocols of their own only; that is never a reason to fail, and a client gets what the server has where they agree.
func TestOffersOfIstio(t *testing.T) {
	ca := newAuthority(t)
	server := newIdentity(t, ca, shop).start(t, []string{meshServer(true)}, []string{cluster("web", "", backend(t, echo)), cluster("bytes", "", bytesApp(t))})
	for offer, want := range map[string]string{
		"istio-peer-exchange,istio": "istio-peer-exchange", "istio": "", "istio-http/1.1,istio,http/1.1": "http/1.1", "istio-h2,istio,h2": "h2", "istio-h2": "",
	} {
		c, err := cryptotls.Dial("tcp", server.addr("main"), &cryptotls.Config{
			InsecureSkipVerify: true, NextProtos: strings.Split(offer, ","), Certificates: []cryptotls.Certificate{ca.pair(cart, time.Hour)},
		})
		if err != nil {
			t.Errorf("%s: %v", offer, err)
			continue
		}
		if got := c.ConnectionState().NegotiatedProtocol; got != want {
			t.Errorf("%s: %q, want %q", offer, got, want)
		}
		_ = c.Close()
	}
	// And plaintext, where that is allowed.
	if resp, _ := server.get("/"); resp.StatusCode != 200 {
		t.Errorf("in the clear: %s", resp.Status)
	}
}

// A listener is open before its certificate is here, and who connects meanwhile waits for it.
func TestSecretsMayComeLater(t *testing.T) {
	ca := newAuthority(t)
	late := &identity{}
	server := late.start(t, []string{meshServer(false)}, []string{cluster("web", "", backend(t, echo)), cluster("bytes", "", bytesApp(t))})
	listeners, clusters := meshClient(server.addr("main"), shop)
	client := newIdentity(t, ca, cart).start(t, listeners, clusters)
	var wg sync.WaitGroup
	wg.Go(func() {
		if resp, body := ask(t, "GET", "http://"+client.addr("http1")+"/", nil, "x-envoy-upstream-rq-timeout-ms", "10000"); resp.StatusCode != 200 {
			t.Errorf("%s %s", resp.Status, body)
		}
	})
	eventually(t, "a connection waits", func() bool { return server.Server().Listeners()[0].Connections > 0 })
	late.put(t, certificate(ca.issue(shop, time.Hour)))
	late.put(t, trust(ca.pem))
	wg.Wait()
}
