package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// zone is a resolver of a test.
type zone struct {
	mu    sync.Mutex
	found map[string][]netip.Addr // by network and name
	ttl   time.Duration
	asked int
}

func (z *zone) Lookup(_ context.Context, network, name string) ([]netip.Addr, time.Duration, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	if found := z.found[network+" "+name]; found != nil {
		return slices.Clone(found), z.ttl, nil
	}
	return nil, 0, errors.New("no such host")
}

func (z *zone) set(key string, ips ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.found == nil {
		z.found = map[string][]netip.Addr{}
	}
	delete(z.found, key)
	for _, ip := range ips {
		z.found[key] = append(z.found[key], netip.MustParseAddr(ip))
	}
}

func dnsCluster(t testing.TB, kind, more string) *clusterv3.Cluster {
	return parse(t, &clusterv3.Cluster{}, `{"name": "c", "type": %q, %s "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [
		{"endpoint": {"address": {"socket_address": {"address": "name.test", "port_value": 80}}}}]}]}}`, kind, more)
}

func addresses(c *Cluster) (out []string) {
	for _, e := range c.hosts.Load().endpoints {
		out = append(out, e.Address()+"→"+e.RemoteAddress())
	}
	slices.Sort(out)
	return out
}

func TestStrictDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set("ip name.test", "10.0.0.1", "10.0.0.2")
		s := newSet(t, Options{Resolver: z})
		if err := s.UpdateCluster(dnsCluster(t, "STRICT_DNS", `"dns_lookup_family": "ALL",`)); err != nil {
			t.Fatal(err)
		}
		c := s.Get("c")
		<-c.Ready()
		expect := func(want ...string) {
			t.Helper()
			if got := addresses(c); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		}
		expect("10.0.0.1:80→10.0.0.1:80", "10.0.0.2:80→10.0.0.2:80")
		stays := c.endpoints["10.0.0.2:80"]
		z.set("ip name.test", "10.0.0.2", "fd00::1")
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		expect("10.0.0.2:80→10.0.0.2:80", "[fd00::1]:80→[fd00::1]:80")
		if c.endpoints["10.0.0.2:80"] != stays {
			t.Error("an address that stayed is another endpoint")
		}
		z.set("ip name.test") // fails
		time.Sleep(time.Minute)
		synctest.Wait()
		expect("10.0.0.2:80→10.0.0.2:80", "[fd00::1]:80→[fd00::1]:80")
		if c.hosts.Load().endpoints[0].Hostname() != "name.test" {
			t.Error("the name is not the endpoint's hostname")
		}
	})
}

// silent is a zone in which some names get no answer.
type silent struct {
	*zone
	name string
}

func (s silent) Lookup(ctx context.Context, network, name string) ([]netip.Addr, time.Duration, error) {
	if name == s.name {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	return s.zone.Lookup(ctx, network, name)
}

// Each name of a cluster has its own port, weight and addresses; a name that nobody answers for does not hold up the others.
func TestStrictDNSOfSeveralNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set("ip us.test", "10.0.0.1", "10.0.0.2")
		z.set("ip uk.test", "10.0.0.3")
		s := newSet(t, Options{Resolver: silent{z, "never.test"}})
		cluster := func(names ...string) *clusterv3.Cluster {
			c := parse(t, &clusterv3.Cluster{}, `{"name": "c", "type": "STRICT_DNS", "dns_lookup_family": "ALL", "load_assignment": {"cluster_name": "c"}}`)
			l := &endpointv3.LocalityLbEndpoints{}
			for i, name := range names {
				l.LbEndpoints = append(l.LbEndpoints, lbEndpoint(t, member{addr: name, port: 8080 + i, weight: 1 + i}))
			}
			c.LoadAssignment.Endpoints = []*endpointv3.LocalityLbEndpoints{l}
			return c
		}
		if err := s.UpdateCluster(cluster("us.test", "192.0.2.1", "uk.test", "never.test", "fails.test")); err != nil {
			t.Fatal(err)
		}
		c := s.Get("c")
		<-c.Ready()
		synctest.Wait()
		expect := func(want ...string) {
			t.Helper()
			var got []string
			for _, e := range c.hosts.Load().endpoints {
				got = append(got, fmt.Sprintf("%s*%d", e.Address(), e.attrs.Load().weight))
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		}
		expect("10.0.0.1:8080*1", "10.0.0.2:8080*1", "10.0.0.3:8082*3", "192.0.2.1:8081*2")
		if err := s.UpdateCluster(cluster("never.test")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expect("10.0.0.1:8080*1", "10.0.0.2:8080*1", "10.0.0.3:8082*3", "192.0.2.1:8081*2")
		if err := s.UpdateCluster(cluster("never.test", "uk.test")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		expect("10.0.0.3:8081*2")
	})
}

func TestDNSTTLAndFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{ttl: time.Minute}
		z.set("ip4 name.test", "10.0.0.1")
		s := newSet(t, Options{Resolver: z})
		if err := s.UpdateCluster(dnsCluster(t, "LOGICAL_DNS", `"respect_dns_ttl": true,`)); err != nil {
			t.Fatal(err)
		}
		c := s.Get("c")
		<-c.Ready()
		e := c.hosts.Load().endpoints[0]
		if got := addresses(c); !slices.Equal(got, []string{"name.test:80→10.0.0.1:80"}) {
			t.Errorf("AUTO with no IPv6: %v", got)
		}
		asked := z.asked
		time.Sleep(50 * time.Second)
		if z.asked != asked {
			t.Error("looked up again before the TTL was over")
		}
		z.set("ip6 name.test", "fd00::1")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if got := addresses(c); !slices.Equal(got, []string{"name.test:80→[fd00::1]:80"}) {
			t.Errorf("AUTO with IPv6: %v", got)
		}
		if c.hosts.Load().endpoints[0] != e {
			t.Error("the logical endpoint is another")
		}
	})
}

func TestOriginalDestination(t *testing.T) {
	one, two := serve(t, echo), serve(t, echo)
	s := newSet(t, Options{})
	if err := s.UpdateCluster(parse(t, &clusterv3.Cluster{}, `{"name": "c", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "cleanup_interval": "0.05s",
		"original_dst_lb_config": {"use_http_header": true}}`)); err != nil {
		t.Fatal(err)
	}
	c := s.Get("c")
	to := func(port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), uint16(port))
	}
	if _, _, err := ask(t.Context(), c, "GET", nil, 0, &PickContext{Destination: to(one.port)}); err != nil {
		t.Error(err)
	}
	req := &message.Request{Method: "GET", Scheme: "http", Authority: "x", Path: "/"}
	req.Fields.Add("x-envoy-original-dst-host", to(two.port).String())
	st, e, err := c.Start(t.Context(), req, 0, &PickContext{Destination: to(one.port)})
	if err != nil || e.Address() != fmt.Sprint("127.0.0.1:", two.port) {
		t.Fatal(e, err)
	}
	if _, _, err := finish(st, nil, 0); err != nil {
		t.Error(err)
	}
	st.Close(message.Done)
	if _, err := c.Pick(t.Context(), &PickContext{}); !errors.Is(err, ErrNoHealthyUpstream) {
		t.Errorf("without a destination: %v", err)
	}
	pc := &PickContext{Destination: to(one.port)}
	if n := testing.AllocsPerRun(100, func() { _, _ = c.Pick(t.Context(), pc) }); n != 0 && !raceEnabled {
		t.Errorf("%v allocations for a destination that is known", n)
	}
	waitFor(t, func() bool { return len(c.hosts.Load().endpoints) == 0 && stat(c, "upstream_cx_active") == 0 }, "unused destinations go")
}

func TestDialTellsOfTheClient(t *testing.T) {
	got := make(chan string, 1)
	to := raw(t, func(nc net.Conn) {
		line, _ := bufio.NewReader(nc).ReadString('\n')
		got <- line
		_, _ = nc.Write([]byte("bye"))
	})
	c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, `"transport_socket": {"name": "p", "typed_config": {
		"@type": "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
		"transport_socket": {"name": "envoy.transport_sockets.raw_buffer"}}}`), assignmentOf(t, to))
	nc, e, err := c.Dial(t.Context(), &PickContext{Source: netip.MustParseAddrPort("192.0.2.1:1234"), Local: netip.MustParseAddrPort("192.0.2.2:443")})
	if err != nil {
		t.Fatal(err)
	}
	if line := <-got; line != "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n" {
		t.Errorf("%q", line)
	}
	if all, err := io.ReadAll(nc); err != nil || string(all) != "bye" || nc.Endpoint() != e {
		t.Errorf("%q %v", all, err)
	}
	_ = nc.Close()
	_ = nc.Close()
	if n := stat(c, "upstream_cx_active"); n != 0 {
		t.Errorf("upstream_cx_active is %d", n)
	}
}

func TestProxyHeader(t *testing.T) {
	four, four2 := netip.MustParseAddrPort("192.0.2.1:258"), netip.MustParseAddrPort("[::ffff:192.0.2.2]:443")
	six := netip.MustParseAddrPort("[2001:db8::1]:258")
	for _, tc := range []struct {
		version       proxyVersion
		source, local netip.AddrPort
		want          string
	}{
		{proxyVersion1, four, four2, "PROXY TCP4 192.0.2.1 192.0.2.2 258 443\r\n"},
		{proxyVersion1, six, six, "PROXY TCP6 2001:db8::1 2001:db8::1 258 258\r\n"},
		{proxyVersion1, four, six, "PROXY UNKNOWN\r\n"},
		{proxyVersion1, netip.AddrPort{}, four, "PROXY UNKNOWN\r\n"},
		{proxyVersion2, four, four2, signature + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x01\x02\x01\xbb"},
		{proxyVersion2, six, four, signature + "\x20\x00\x00\x00"},
		{proxyVersion2, six, six, signature + "\x21\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
			"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\x02\x01\x02"},
	} {
		if got := string(tc.version.appendHeader(nil, tc.source, tc.local)); got != tc.want {
			t.Errorf("%v → %v: %q, want %q", tc.source, tc.local, got, tc.want)
		}
	}
}

// Connections of HTTP that tell of their client carry only that client's requests.
func TestProxyHeaderKeepsClientsApart(t *testing.T) {
	t1 := &transport{proxy: proxyVersion1}
	a := t1.key(nil, &PickContext{Source: netip.MustParseAddrPort("192.0.2.1:1")})
	b := t1.key(nil, &PickContext{Source: netip.MustParseAddrPort("192.0.2.1:2")})
	if a == b || (&transport{}).key(nil, &PickContext{Source: netip.MustParseAddrPort("192.0.2.1:1")}) != (key{}) {
		t.Error("keys")
	}
}

// When the set is closed nothing of it is left; who does not finish is broken off.
func TestClose(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	to := raw(t, func(nc net.Conn) { <-hold })
	s := NewSet(Options{})
	c := mustUpdate(t, s, edsCluster(t, ``), assignmentOf(t, to))
	st, _, err := c.Start(t.Context(), &message.Request{Method: "GET", Scheme: "http", Authority: "x", Path: "/"}, 0, &PickContext{})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		err := st.ReadHead(&message.Response{})
		st.Close(message.Cancelled)
		failed <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close with an exchange under way: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("the exchange went on")
	}
	if err := s.UpdateCluster(edsCluster(t, `"connect_timeout": "7s"`)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
