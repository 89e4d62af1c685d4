package proxy_test

import (
	cryptotls "crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// speaks serves connections that are greeted with a name.
func speaks(name string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, name+"\n") }
}

// encrypted serves TLS in the Pod's namespace, and greets with a name.
func encrypted(t *testing.T, at, name string) {
	t.Helper()
	cert, key := pair(t, name+".example.com")
	own, err := cryptotls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := cryptotls.Listen("tcp", at, &cryptotls.Config{Certificates: []cryptotls.Certificate{own}})
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
				_, _ = io.WriteString(c, name+"\n")
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
}

// greetingOf is what a server says to a client that begins TLS with a name; "" if nobody does.
func greetingOf(t *testing.T, to, name string) string {
	t.Helper()
	c, err := client(to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	s := cryptotls.Client(c, &cryptotls.Config{ServerName: name, InsecureSkipVerify: true}) // who it is shows in what it says
	b := make([]byte, 100)
	n, _ := s.Read(b)
	return strings.TrimSpace(string(b[:n]))
}

// to is the cluster of a name that leads to one endpoint.
func (s *pod) to(name, endpoint string) string {
	full := "outbound|1|" + name + "|x.shop.svc.cluster.local"
	s.must(xdsclient.ClusterType, cluster(`"`+full+`"`, "", endpoint))
	return full
}

// Connections that are carried as bytes are led by rules: by the first for the address, by weight, by name, and a rule that changes holds for the next connection.
func TestOutboundRules(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	s := newPod(t)
	for i, name := range []string{"v1", "v2", "other", "direct"} {
		app(t, fmt.Sprintf("10.0.0.1:700%d", i+1), speaks(name))
	}
	v1, v2, other := s.to("v1", "10.0.0.1:7001"), s.to("v2", "10.0.0.1:7002"), s.to("other", "10.0.0.1:7003")
	db := func(rules string) {
		s.service("db", `addresses: [`+bytesOf("10.96.0.2")+`, `+bytesOf("10.96.1.2")+`], ports: [{number: 5432, protocol: TCP`+rules+`}, {number: 5433`+rules+`}]`, 5432, "10.0.0.1:7004")
		s.Applied(xdsclient.ServiceType)
	}
	all := func(clusters ...string) string {
		var to []string
		for _, c := range clusters {
			to = append(to, `{cluster: "`+c+`", weight: 1}`)
		}
		return `{to: [` + strings.Join(to, ", ") + `]}`
	}
	expect := func(to, want string) {
		t.Helper()
		if got := strings.TrimSpace(greeting(t, to)); got != want {
			t.Errorf("%s: %q, want %q", to, got, want)
		}
	}
	db("")
	expect("10.96.0.2:5432", "direct")
	db(`, rules: [` + all(v2) + `, ` + all(v1) + `]`)
	expect("10.96.0.2:5432", "v2")
	expect("10.96.0.2:5433", "v2") // nothing says what is spoken there, and the server speaks first
	if !s.has("Cluster "+v2) || s.has("Cluster "+v1) {
		t.Error("what a rule leads to is asked for when it is used")
	}
	db(`, rules: [{subnets: [{address: ` + bytesOf("10.96.1.0") + `, length: 24}], to: [{cluster: "` + other + `"}]}, ` + all(v1) + `]`)
	s.Applied(xdsclient.ClusterType)
	if s.has("Cluster " + v2) {
		t.Error("what no rule leads to any more is still asked for")
	}
	expect("10.96.0.2:5432", "v1")
	expect("10.96.1.2:5432", "other")
	db(`, rules: [{}]`)
	expect("10.96.0.2:5432", "")
	db(`, rules: [` + all("outbound|1|never|x.shop.svc.cluster.local") + `]`)
	s.Remove(xdsclient.ClusterType, "outbound|1|never|x.shop.svc.cluster.local")
	expect("10.96.0.2:5432", "")
	db(`, rules: [` + all(v1, v2) + `]`)
	count := map[string]int{}
	for range 60 {
		count[strings.TrimSpace(greeting(t, "10.96.0.2:5432"))]++
	}
	if len(count) != 2 || count["v1"] < 12 || count["v2"] < 12 {
		t.Errorf("shares: %v", count)
	}
}

// TLS is led by the name that the client begins with, whatever the address where the Service has none; what no rule takes goes where the client wants to go.
func TestOutboundRulesByName(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	s := newPod(t)
	encrypted(t, "10.0.0.1:7001", "a")
	encrypted(t, "10.0.0.1:7002", "b")
	encrypted(t, "10.0.0.1:443", "direct")
	app(t, "10.0.0.1:7003", speaks("bytes"))
	a, b, bytes := s.to("a", "10.0.0.1:7001"), s.to("b", "10.0.0.1:7002"), s.to("bytes", "10.0.0.1:7003")
	rules := `rules: [{server_names: [a.example.com], to: [{cluster: "` + a + `"}]}, {server_names: ["*.example.com"], to: [{cluster: "` + b + `"}]}]`
	s.service("secure", `addresses: [`+bytesOf("10.96.0.3")+`], ports: [{number: 443, protocol: TLS, `+rules+`}]`, 443, "10.0.0.1:7003")
	s.service("named", `anywhere: true, ports: [{number: 443, protocol: TLS, rules: [{server_names: [a.example.org], to: [{cluster: "`+a+`"}]}]}]`, 0)
	s.service("port", `anywhere: true, ports: [{number: 9000, protocol: TCP, rules: [{to: [{cluster: "`+bytes+`"}]}]}]`, 0)
	s.Applied(xdsclient.ServiceType)
	for _, c := range []struct{ to, name, want string }{
		{"10.96.0.3:443", "a.example.com", "a"},
		{"10.96.0.3:443", "x.y.example.com", "b"},
		{"10.96.0.3:443", "example.org", ""}, // the address is nobody's
		{"10.0.0.1:443", "a.example.org", "a"},
		{"192.0.2.1:443", "a.example.org", "a"},
		{"10.0.0.1:443", "b.example.org", "direct"},
	} {
		if got := greetingOf(t, c.to, c.name); got != c.want {
			t.Errorf("%s for %s: %q, want %q", c.to, c.name, got, c.want)
		}
	}
	if got := strings.TrimSpace(greeting(t, "192.0.2.1:9000")); got != "bytes" {
		t.Errorf("by the port: %q", got)
	}
	// One that says nothing for long is no TLS, and one that says something else is none at once.
	c, err := client("10.96.0.3:443")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	began := time.Now()
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("what is no TLS is answered by a server of TLS: %v", err)
	}
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("it took %v to see that it is no TLS", d)
	}
}
