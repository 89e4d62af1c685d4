package xdsclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/bootstrap"
)

const patience = 20 * time.Second

// server is a real gRPC server whose streams the test serves by hand.
type server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	streams chan *stream
}

type stream struct {
	t        *testing.T
	g        discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	requests chan *discoveryv3.DeltaDiscoveryRequest
	end      chan error
}

func (s *server) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	st := &stream{g: g, requests: make(chan *discoveryv3.DeltaDiscoveryRequest, 100), end: make(chan error, 1)}
	go func() {
		for {
			m, err := g.Recv()
			if err != nil {
				return
			}
			st.requests <- m
		}
	}()
	s.streams <- st
	select {
	case err := <-st.end:
		return err
	case <-g.Context().Done():
		return g.Context().Err()
	}
}

// start runs a server and gives how to reach it.
func start(t *testing.T) (*server, func(context.Context) (net.Conn, error)) {
	t.Helper()
	s := &server{streams: make(chan *stream, 100)}
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-served })
	return s, l.DialContext
}

// next waits for a client's stream.
func (s *server) next(t *testing.T) *stream {
	t.Helper()
	select {
	case st := <-s.streams:
		st.t = t
		return st
	case <-time.After(patience):
		t.Fatal("no stream")
		return nil
	}
}

// expect waits for a request and compares it.
func (s *stream) expect(want *discoveryv3.DeltaDiscoveryRequest) {
	s.t.Helper()
	select {
	case got := <-s.requests:
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			s.t.Fatalf("request (-want +got):\n%s", d)
		}
	case <-time.After(patience):
		s.t.Fatalf("no request; want %v", want)
	}
}

func (s *stream) send(url, nonce string, removed []string, resources ...*discoveryv3.Resource) {
	s.t.Helper()
	m := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, Nonce: nonce, SystemVersionInfo: "v" + nonce, Resources: resources, RemovedResources: removed}
	if err := s.g.Send(m); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stream) ack(url, nonce string) {
	s.t.Helper()
	s.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, ResponseNonce: nonce})
}

// nack expects a rejection and gives its text.
func (s *stream) nack(url, nonce string) string {
	s.t.Helper()
	select {
	case got := <-s.requests:
		text := got.GetErrorDetail().GetMessage()
		got.ErrorDetail = nil
		if d := cmp.Diff(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, ResponseNonce: nonce}, got, protocmp.Transform()); d != "" || text == "" {
			s.t.Fatalf("rejection %q (-want +got):\n%s", text, d)
		}
		return text
	case <-time.After(patience):
		s.t.Fatal("no rejection")
		return ""
	}
}

// greet passes the first requests of a client that wants listeners and clusters and has none.
func (s *stream) greet(node *corev3.Node) {
	s.t.Helper()
	s.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, Node: node})
	s.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ListenerType})
}

func res(url, name, version string) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: url, Value: []byte(name + "@" + version)}}
}

// events is a handler that writes down what it is told. A resource whose version begins with "bad" is refused.
type events struct {
	on        func(event string)               // called in the handler
	restoring func(url string, names []string) // the same

	mu  sync.Mutex
	log []string
	new chan struct{}
}

func newEvents() *events { return &events{new: make(chan struct{}, 1000)} }

func (e *events) note(text string) {
	e.mu.Lock()
	e.log = append(e.log, text)
	e.mu.Unlock()
	if e.on != nil {
		e.on(text)
	}
	e.new <- struct{}{}
}

func short(url string) string { return url[strings.LastIndexByte(url, '.')+1:] }

func (e *events) Update(url, name string, r *anypb.Any) error {
	if strings.Contains(string(r.GetValue()), "@bad") {
		return errors.New("field: not good")
	}
	e.note(fmt.Sprintf("%s %s", short(url), r.GetValue()))
	return nil
}

func (e *events) Remove(url, name string) { e.note(fmt.Sprintf("-%s %s", short(url), name)) }
func (e *events) Restoring(url string, names []string) {
	if e.restoring != nil {
		e.restoring(url, names)
	}
}

func (e *events) Applied(url string) { e.note("." + short(url)) }

// wait waits until the handler was told all this, and only this.
func (e *events) wait(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(patience)
	for range want {
		select {
		case <-e.new:
		case <-deadline:
			e.mu.Lock()
			defer e.mu.Unlock()
			t.Fatalf("want %q, have %q", want, e.log)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if d := cmp.Diff(want, e.log); d != "" {
		t.Fatalf("events (-want +got):\n%s", d)
	}
	e.log = nil
}

type running struct {
	*Client
	stop func()
}

func run(t *testing.T, c Config, h Handler) running {
	t.Helper()
	if c.Server == nil {
		c.Server = &bootstrap.XDS{Address: "test", Plaintext: true, Listeners: true, Clusters: true}
	}
	c.MinBackOff, c.MaxBackOff = time.Millisecond, 5*time.Millisecond
	cl, err := New(c, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = cl.Run(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return running{cl, stop}
}

func TestWildcardsAndNames(t *testing.T) {
	s, dial := start(t)
	e := newEvents()
	node := &corev3.Node{Id: "router~1.2.3.4~gw.ns~ns.svc.cluster.local", Cluster: "gw"}
	var c running
	ready := make(chan struct{})
	e.on = func(event string) {
		<-ready
		switch event {
		case "Listener l1@1":
			c.Subscribe(RouteType, "http.80", "http.81")
		case "Cluster c1@1":
			c.Subscribe(EndpointType, "c1")
		case "-Cluster c1":
			c.Unsubscribe(EndpointType, "c1")
		}
	}
	c = run(t, Config{Dial: dial, Node: node}, e)
	close(ready)
	st := s.next(t)
	st.greet(node)

	st.send(ClusterType, "1", nil, res(ClusterType, "c1", "1"))
	st.ack(ClusterType, "1")
	st.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, ResourceNamesSubscribe: []string{"c1"}})
	st.send(ListenerType, "2", nil, res(ListenerType, "l1", "1"))
	st.ack(ListenerType, "2")
	st.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: RouteType, ResourceNamesSubscribe: []string{"http.80", "http.81"}})
	e.wait(t, "Cluster c1@1", ".Cluster", "Listener l1@1", ".Listener")

	// A name that does not exist is told like one that is removed. What nobody asked for is acknowledged and left.
	st.send(EndpointType, "3", nil, res(EndpointType, "c1", "1"), res(EndpointType, "other", "1"))
	st.ack(EndpointType, "3")
	st.send(RouteType, "4", []string{"http.81"}, res(RouteType, "http.80", "1"))
	st.ack(RouteType, "4")
	e.wait(t, "ClusterLoadAssignment c1@1", ".ClusterLoadAssignment", "RouteConfiguration http.80@1", "-RouteConfiguration http.81", ".RouteConfiguration")

	// The same once more is no news.
	st.send(RouteType, "5", nil, res(RouteType, "http.80", "1"))
	st.ack(RouteType, "5")
	e.wait(t, ".RouteConfiguration")

	// Removal of a cluster takes its subscription along.
	st.send(ClusterType, "6", []string{"c1"}, res(ClusterType, "c2", "1"))
	st.ack(ClusterType, "6")
	st.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, ResourceNamesUnsubscribe: []string{"c1"}})
	e.wait(t, "Cluster c2@1", "-Cluster c1", ".Cluster")

	var names []string
	for _, url := range []string{ClusterType, EndpointType, ListenerType, RouteType} {
		for _, r := range c.Resources(url) {
			names = append(names, short(url)+" "+r.Name+" "+r.Version)
		}
	}
	if d := cmp.Diff([]string{"Cluster c2 1", "Listener l1 1", "RouteConfiguration http.80 1"}, names); d != "" {
		t.Error(d)
	}
	status := c.Status()
	if !status.Connected || status.Types[0].Version != "v6" || status.Types[0].Wanted != -1 || status.Types[0].Held != 1 {
		t.Errorf("%+v", status)
	}
}

// A bad resource costs itself only: the rest of the response holds, and of the bad one what there was before.
func TestRejection(t *testing.T) {
	s, dial := start(t)
	e := newEvents()
	c := run(t, Config{Dial: dial}, e)
	st := s.next(t)
	st.greet(nil)
	st.send(ClusterType, "1", nil, res(ClusterType, "a", "1"), res(ClusterType, "b", "1"))
	st.ack(ClusterType, "1")
	wrong := res(ClusterType, "wrong", "1")
	wrong.Resource.TypeUrl = "type.googleapis.com/google.protobuf.Empty"
	st.send(ClusterType, "2", nil, res(ClusterType, "a", "bad2"), res(ClusterType, "b", "2"), wrong, &discoveryv3.Resource{Name: "none", Version: "1"})
	want := `a: field: not good; wrong: it is a "type.googleapis.com/google.protobuf.Empty"; none: it is a ""`
	if text := st.nack(ClusterType, "2"); text != want {
		t.Errorf("rejected with %q, want %q", text, want)
	}
	e.wait(t, "Cluster a@1", "Cluster b@1", ".Cluster", "Cluster b@2", ".Cluster")
	if got := c.Status().Types[0]; got.Rejected != want || got.Version != "v1" || got.Rejections != 1 {
		t.Errorf("%+v", got)
	}

	// A new stream is told the versions that are in force.
	st.end <- errors.New("over")
	st = s.next(t)
	st.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, InitialResourceVersions: map[string]string{"a": "1", "b": "2"}})
	st.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ListenerType})
	st.send(ClusterType, "1", nil, res(ClusterType, "a", "3"))
	st.ack(ClusterType, "1")
	if got := c.Status().Types[0]; got.Rejected != "" || got.Version != "v1" {
		t.Errorf("%+v", got)
	}
}

func TestRejectionIsBounded(t *testing.T) {
	var refused []error
	for i := range 10_000 {
		refused = append(refused, fmt.Errorf("cluster-%d: %s\xff", i, strings.Repeat("x", 5*(i%2000))))
	}
	text := rejection(refused)
	if len(text) > maxRejectionBytes+100 || !strings.HasSuffix(text, " more") || strings.Contains(text, "\xff") {
		t.Errorf("%d bytes, ends with %q", len(text), text[len(text)-30:])
	}
}

func TestReconnect(t *testing.T) {
	s, dial := start(t)
	e := newEvents()
	c := run(t, Config{Dial: dial, Node: &corev3.Node{Id: "n"}}, e)
	c.Subscribe(RouteType, "r1", "r2")
	for i := range 5 {
		st := s.next(t)
		var got *discoveryv3.DeltaDiscoveryRequest
		for got.GetTypeUrl() != RouteType || len(got.GetResourceNamesSubscribe()) == 0 {
			select {
			case got = <-st.requests:
			case <-time.After(patience):
				t.Fatal("routes are not asked for")
			}
		}
		want := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: RouteType, ResourceNamesSubscribe: []string{"r1", "r2"}}
		if i > 0 {
			want.InitialResourceVersions = map[string]string{"r1": fmt.Sprint(i - 1)}
		}
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Fatal(d)
		}
		st.send(RouteType, "1", nil, res(RouteType, "r1", fmt.Sprint(i)))
		st.ack(RouteType, "1")
		e.wait(t, fmt.Sprintf("RouteConfiguration r1@%d", i), ".RouteConfiguration")
		st.end <- errors.New("over")
	}
	if r := c.Resources(RouteType); len(r) != 1 || r[0].Version != "4" {
		t.Errorf("what there was is gone: %v", r)
	}
}

// Somebody gives up a name and wants it again at once: the server hears nothing of it, and the handler gets the resource again.
func TestWantedAgain(t *testing.T) {
	s, dial := start(t)
	e := newEvents()
	c := run(t, Config{Dial: dial, Server: &bootstrap.XDS{Address: "test", Plaintext: true}}, e)
	c.Subscribe(EndpointType, "e")
	c.Subscribe(EndpointType, "e")
	st := s.next(t)
	st.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, ResourceNamesSubscribe: []string{"e"}})
	st.send(EndpointType, "1", nil, res(EndpointType, "e", "1"))
	st.ack(EndpointType, "1")
	e.wait(t, "ClusterLoadAssignment e@1", ".ClusterLoadAssignment")

	c.Unsubscribe(EndpointType, "e")
	e.on = func(event string) {
		if event == "Secret s@1" {
			c.Unsubscribe(EndpointType, "e")
			c.Subscribe(EndpointType, "e")
		}
	}
	c.Subscribe(SecretType, "s")
	st.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: SecretType, ResourceNamesSubscribe: []string{"s"}})
	st.send(SecretType, "2", nil, res(SecretType, "s", "1"))
	st.ack(SecretType, "2")
	e.wait(t, "Secret s@1", ".Secret", "ClusterLoadAssignment e@1", ".ClusterLoadAssignment")
	c.Unsubscribe(EndpointType, "e")
	st.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, ResourceNamesUnsubscribe: []string{"e"}})
	if r := c.Resources(EndpointType); len(r) != 0 {
		t.Errorf("held: %v", r)
	}
}

// A process that starts while the server is away has what the one before it had, secrets too, which nobody else may read.
func TestRestore(t *testing.T) {
	s, dial := start(t)
	dir := filepath.Join(t.TempDir(), "xds")
	node := &corev3.Node{Id: "n"}
	follow := func(e *events, c *running, ready chan struct{}) {
		e.on = func(event string) {
			<-ready
			switch {
			case strings.HasPrefix(event, "Listener l@"):
				c.Subscribe(RouteType, "r")
				c.Subscribe(SecretType, "s")
			case strings.HasPrefix(event, "Cluster c@"):
				c.Subscribe(EndpointType, "c")
			}
		}
	}
	first := func() {
		e, ready := newEvents(), make(chan struct{})
		var c running
		follow(e, &c, ready)
		c = run(t, Config{Dial: dial, Directory: dir, Node: node}, e)
		close(ready)
		st := s.next(t)
		st.greet(node)
		st.send(ClusterType, "1", nil, res(ClusterType, "c", "1"), res(ClusterType, "d", "1"))
		st.send(ListenerType, "2", nil, res(ListenerType, "l", "1"))
		e.wait(t, "Cluster c@1", "Cluster d@1", ".Cluster", "Listener l@1", ".Listener")
		st.send(EndpointType, "3", nil, res(EndpointType, "c", "1"))
		st.send(RouteType, "4", nil, res(RouteType, "r", "1"))
		st.send(SecretType, "5", nil, res(SecretType, "s", "1"))
		st.send(ClusterType, "6", []string{"d"})
		e.wait(t, "ClusterLoadAssignment c@1", ".ClusterLoadAssignment", "RouteConfiguration r@1", ".RouteConfiguration", "Secret s@1", ".Secret",
			"-Cluster d", ".Cluster")
		c.stop()
	}
	first()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	for _, f := range append(files, dir) {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}

	away := func(context.Context) (net.Conn, error) { return nil, errors.New("away") }
	all := []string{"Cluster c@1", ".Cluster", "ClusterLoadAssignment c@1", ".ClusterLoadAssignment", "Listener l@1", ".Listener",
		"RouteConfiguration r@1", ".RouteConfiguration", "Secret s@1", ".Secret"}
	restored := func(t *testing.T, dial func(context.Context) (net.Conn, error), node *corev3.Node, want []string) running {
		e, ready := newEvents(), make(chan struct{})
		var c running
		follow(e, &c, ready)
		c = run(t, Config{Dial: dial, Directory: dir, Node: node}, e)
		close(ready)
		e.wait(t, want...)
		return c
	}
	t.Run("server away", func(t *testing.T) {
		c := restored(t, away, node, all)
		for end := time.Now().Add(patience); !strings.Contains(c.Status().LastError, "away"); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%+v", c.Status())
			}
		}
		c.stop()
		if s := c.Status(); s.Connected || !s.Types[0].Restored {
			t.Errorf("%+v", s)
		}
	})
	t.Run("server back", func(t *testing.T) {
		c := restored(t, dial, node, all)
		st := s.next(t)
		st.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, Node: node, InitialResourceVersions: map[string]string{"c": "1"}})
		st.expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, ResourceNamesSubscribe: []string{"c"}, InitialResourceVersions: map[string]string{"c": "1"}})
		c.stop()
	})
	t.Run("another proxy's", func(t *testing.T) {
		other := &corev3.Node{Id: "other"}
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		c := run(t, Config{Dial: dial, Directory: copied, Node: other}, newEvents())
		s.next(t).greet(other)
		c.stop()
	})
	t.Run("damaged", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(dir, "Cluster.xds"))
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)-1] ^= 1
		if err := os.WriteFile(filepath.Join(dir, "Cluster.xds"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		c := restored(t, away, node, []string{"Listener l@1", ".Listener", "RouteConfiguration r@1", ".RouteConfiguration", "Secret s@1", ".Secret"})
		c.stop()
	})
}

// Files are written while the process runs, since one that is killed writes none.
func TestKeptWhileRunning(t *testing.T) {
	s, dial := start(t)
	dir := t.TempDir()
	run(t, Config{Dial: dial, Directory: dir, Node: &corev3.Node{Id: "n"}}, newEvents())
	s.next(t).send(ClusterType, "1", nil, res(ClusterType, "c", "1"))
	d := disk{directory: dir, node: "n"}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if m, err := d.read(ClusterType); err == nil && len(m.GetResources()) == 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("nothing was written")
		}
	}
}

// The token is read for each stream anew, and no stream comes about without one.
func TestToken(t *testing.T) {
	s, dial := start(t)
	file := filepath.Join(t.TempDir(), "token")
	c := run(t, Config{Dial: dial, Server: &bootstrap.XDS{
		Address: "test", Plaintext: true, Listeners: true, TokenFile: file, Metadata: map[string]string{"clusterid": "Kubernetes"},
	}}, newEvents())
	for end := time.Now().Add(patience); !strings.Contains(c.Status().LastError, "token"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", c.Status())
		}
	}
	for _, want := range []string{"one", "two"} {
		if err := os.WriteFile(file+".new", []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		var got []string
		for !slices.Equal(got, []string{"Bearer " + want}) { // streams that were begun with the token before come first
			st := s.next(t)
			md, _ := metadata.FromIncomingContext(st.g.Context())
			got = md.Get("authorization")
			if got := md.Get("clusterid"); !slices.Equal(got, []string{"Kubernetes"}) {
				t.Errorf("clusterid: %q", got)
			}
			st.end <- nil
		}
	}
}

// The server must be one that the file of authorities vouches for, and the one that was meant.
func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"istiod.istio-system.svc"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "root-cert.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{streams: make(chan *stream, 100)}
	g := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-served })

	good := &bootstrap.XDS{Address: l.Addr().String(), CAFile: ca, ServerName: "istiod.istio-system.svc", Listeners: true}
	run(t, Config{Server: good}, newEvents())
	s.next(t).expect(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: ListenerType})

	for want, x := range map[string]*bootstrap.XDS{
		"not other.svc":     {Address: good.Address, CAFile: ca, ServerName: "other.svc"},
		"unknown authority": {Address: good.Address, ServerName: good.ServerName},
		"no such file":      {Address: good.Address, CAFile: ca + ".not", ServerName: good.ServerName},
	} {
		c := run(t, Config{Server: x}, newEvents())
		for end := time.Now().Add(patience); !strings.Contains(c.Status().LastError, want); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("want %q: %+v", want, c.Status())
			}
		}
	}
}

func TestNew(t *testing.T) {
	for name, x := range map[string]*bootstrap.XDS{
		"no server":                     nil,
		"no address":                    {},
		"a token that others could see": {Address: "10.0.0.1:15010", Plaintext: true, TokenFile: "token"},
	} {
		if _, err := New(Config{Server: x}, newEvents()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{Server: &bootstrap.XDS{Address: "unix:/run/xds", Plaintext: true, TokenFile: "token"}}, newEvents()); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	d := disk{directory: f.TempDir(), node: "n"}
	if err := d.write(ClusterType, []Resource{{Name: "a", Version: "1", Resource: &anypb.Any{TypeUrl: ClusterType, Value: []byte("x")}}}); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(d.path(ClusterType))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:len(text)-3])
	f.Add([]byte(mark))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decode(text)
		if err == nil {
			_ = proto.Size(m)
		}
	})
}
