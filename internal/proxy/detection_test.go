package proxy_test

import (
	"bufio"
	"bytes"
	cryptotls "crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// undeclared is a listener of a port whose protocol nobody has declared: HTTP and bytes in the clear, and in the mesh's TLS.
func undeclared() string {
	http := httpFilter(forwardCert, "", all(toWeb("/", "")))
	return `{name: main, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, listener_filters: [` + inspector + `, ` + httpInspector + `], filter_chains: [
		{filter_chain_match: {transport_protocol: tls, application_protocols: [` + httpALPN + `]}, filters: [` + http + `], ` + mutual("h2, http/1.1") + `},
		{filter_chain_match: {transport_protocol: tls, application_protocols: [` + tcpALPN + `]}, filters: [` + tcpFilter("bytes") + `], ` + mutual("istio-peer-exchange, istio") + `},
		{filter_chain_match: {transport_protocol: raw_buffer, application_protocols: [http/1.0, http/1.1, h2c]}, filters: [` + http + `]},
		{filter_chain_match: {transport_protocol: raw_buffer}, filters: [` + tcpFilter("bytes") + `]},
		{filter_chain_match: {transport_protocol: tls}, filters: [` + tcpFilter("bytes") + `]}]}`
}

// silentApp is an app that waits for its clients, and says when one has come.
func silentApp(t *testing.T, came chan<- struct{}) string {
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
			came <- struct{}{}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return ln.Addr().String()
}

// Whoever speaks first decides what a connection is, and nobody waits for the other.
func TestDetection(t *testing.T) {
	ca := newAuthority(t)
	came := make(chan struct{}, 16)
	web := backend(t, echo)
	quiet := newIdentity(t, ca, shop).start(t, []string{undeclared()}, []string{cluster("web", "", web), cluster("bytes", "", silentApp(t, came))})
	talking := newIdentity(t, ca, shop).start(t, []string{undeclared()}, []string{cluster("web", "", web), cluster("bytes", "", bytesApp(t))})
	dial := func(t *testing.T, to *running, secure bool) net.Conn {
		c, err := net.Dial("tcp", to.addr("main"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if !secure {
			return c
		}
		s := cryptotls.Client(c, &cryptotls.Config{InsecureSkipVerify: true, NextProtos: []string{"istio"}, Certificates: []cryptotls.Certificate{ca.pair(cart, time.Hour)}})
		if err := s.Handshake(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	const get = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
	answered := func(t *testing.T, c net.Conn) {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); !bytes.Contains(body, []byte("x-forwarded-proto")) {
			t.Errorf("not as HTTP: %s %s", resp.Status, body)
		}
	}
	for _, way := range []struct {
		name   string
		secure bool
	}{{"clear", false}, {"mutual TLS", true}} {
		t.Run(way.name, func(t *testing.T) {
			t.Run("the server speaks first", func(t *testing.T) {
				for range 3 { // the second time it is known
					if got, err := bufio.NewReader(dial(t, talking, way.secure)).ReadString('\n'); !strings.HasPrefix(got, "hello") {
						t.Errorf("%q %v", got, err)
					}
				}
			})
			t.Run("the client speaks HTTP, late", func(t *testing.T) {
				c := dial(t, quiet, way.secure)
				within(t, "the server is dialled before anybody speaks", came)
				_, _ = io.WriteString(c, get)
				answered(t, c)
			})
			t.Run("HTTP byte by byte", func(t *testing.T) {
				c := dial(t, quiet, way.secure)
				for i := range get {
					if _, err := io.WriteString(c, get[i:i+1]); err != nil {
						t.Fatal(err)
					}
				}
				answered(t, c)
				select {
				case <-came: // the connection that was dialled when nobody knew yet
				default: // the bytes came together
				}
			})
			t.Run("the client speaks something else", func(t *testing.T) {
				c := dial(t, quiet, way.secure)
				_, _ = io.WriteString(c, "PING\r\n")
				if got, err := bufio.NewReader(c).ReadString('\n'); got != "PING\r\n" {
					t.Errorf("%q %v", got, err)
				}
				within(t, "the server was dialled", came)
			})
			t.Run("the client ends what never was HTTP", func(t *testing.T) {
				c := dial(t, quiet, way.secure)
				_, _ = io.WriteString(c, "GET /unfinished")
				if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(c); string(got) != "GET /unfinished" {
					t.Errorf("%q %v", got, err)
				}
				within(t, "the server was dialled", came)
			})
		})
	}
	t.Run("a ClientHello byte by byte", func(t *testing.T) {
		c := dial(t, talking, false)
		s := cryptotls.Client(pieces{c}, &cryptotls.Config{InsecureSkipVerify: true, NextProtos: []string{"istio-http/1.1"}, Certificates: []cryptotls.Certificate{ca.pair(cart, time.Hour)}})
		_, _ = io.WriteString(s, get)
		answered(t, s)
	})
	t.Run("the application's own TLS", func(t *testing.T) {
		c := dial(t, quiet, false)
		go func() {
			_ = cryptotls.Client(c, &cryptotls.Config{InsecureSkipVerify: true, ServerName: "a"}).Handshake()
		}()
		within(t, "the server is dialled", came) // and gets the ClientHello, which it sends back: no handshake comes of it
	})
	if got := talking.Server().Learned(); len(got) != 1 || got[0].String() != talking.addr("main") {
		t.Errorf("learned: %v", got)
	}
	if got := quiet.Server().Learned(); len(got) != 0 {
		t.Errorf("learned of clients that speak first: %v", got)
	}
}

// pieces writes one byte at a time.
type pieces struct{ net.Conn }

func (p pieces) Write(b []byte) (n int, err error) {
	for i := range b {
		if _, err := p.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}
