package xds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

func TestStartAndChange(t *testing.T) {
	w := newWorld(t)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1"); w.listen(tx, "v1") })
	c := w.connect()
	c.start("v1")
	c.silent()
	w.change(func(tx *store.Tx) { w.endpoints(tx, "v1", 8081) })
	c.expect(endpoints, name("v1"))
	w.change(func(tx *store.Tx) { w.listen(tx, "v1") }) // the same again
	c.silent()
}

// A client that has nothing must be told that there is nothing, or it would wait.
func TestNothingIsAnAnswer(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.ask(clusters)
	c.expect(clusters)
	c.ask(listeners, "*")
	c.expect(listeners)
	c.ask(endpoints, "nonsense", name("v9"))
	c.expect(endpoints, "-nonsense", "-"+name("v9"))
	c.ask(routes, "http.1")
	c.expect(routes, "-http.1")
	w.change(func(tx *store.Tx) { w.subsets(tx, "v9") })
	for range 2 { // in whichever order
		r := <-c.got
		if got := contents(r); !slices.Equal(got, []string{name("v9")}) {
			t.Errorf("%v", got)
		}
		c.ack(r)
	}
}

func TestNamesAndWildcard(t *testing.T) {
	w := newWorld(t)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1", "v2", "v3") })
	one := func(names, not []string) *discoveryv3.DeltaDiscoveryRequest {
		return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[clusters], ResourceNamesSubscribe: names, ResourceNamesUnsubscribe: not}
	}
	t.Run("by name", func(t *testing.T) {
		c := w.connect()
		c.t = t
		c.ask(clusters, name("v1"), name("v4"))
		c.expect(clusters, name("v1"), "-"+name("v4"))
		c.ask(clusters, name("v1")) // asked again, it comes again
		c.expect(clusters, name("v1"))
		c.ask(clusters, name("v2"))
		c.expect(clusters, name("v2"))
		c.send(one(nil, []string{name("v1")}))
		c.silent()
		c.ask(clusters, name("v1"))
		c.expect(clusters, name("v1"))
	})
	t.Run("nothing at all", func(t *testing.T) {
		c := w.connect()
		c.t = t
		c.send(one([]string{"*"}, []string{"*"}))
		c.silent()
		c.ask(clusters, name("v3"))
		c.expect(clusters, name("v3"))
	})
	t.Run("both", func(t *testing.T) {
		c := w.connect()
		c.t = t
		c.send(one([]string{"*", name("v1"), name("v4")}, nil))
		c.expect(clusters, name("v1"), name("v2"), name("v3"), "-"+name("v4"))
		c.send(one(nil, []string{name("v1")})) // still among all
		c.expect(clusters, name("v1"))
		c.send(one(nil, []string{name("v4")}))
		c.expect(clusters, "-"+name("v4"))
		c.send(one([]string{name("v2")}, []string{"*"}))
		c.expect(clusters, name("v2"))
		c.silent()
	})
}

func TestReconnect(t *testing.T) {
	w := newWorld(t)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1", "v2"); w.listen(tx, "v1") })
	c := w.connect()
	c.ask(clusters)
	had := map[string]string{}
	for _, r := range c.expect(clusters, name("v1"), name("v2")).Resources {
		had[r.Name] = r.Version
	}
	c.cancel()

	again := func(k kind, versions map[string]string, names ...string) *client {
		c := w.connect()
		c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[k], InitialResourceVersions: versions, ResourceNamesSubscribe: names})
		return c
	}
	again(clusters, had).silent()
	again(clusters, map[string]string{name("v1"): had[name("v1")]}).expect(clusters, name("v2"))
	again(clusters, map[string]string{name("v1"): "old", name("v2"): had[name("v2")]}).expect(clusters, name("v1"))
	gone := map[string]string{name("v1"): had[name("v1")], name("v2"): had[name("v2")], name("v3"): "1"}
	again(clusters, gone).expect(clusters, "-"+name("v3"))

	c = w.connect()
	c.ask(endpoints, name("v1"))
	r := c.expect(endpoints, name("v1")).Resources[0]
	again(endpoints, map[string]string{r.Name: r.Version}, r.Name).silent()
	again(endpoints, map[string]string{r.Name: "old"}, r.Name).expect(endpoints, r.Name)
}

// Two replicas must say the same of the same objects.
func TestVersionsAreOfContent(t *testing.T) {
	versions := func() (out []string) {
		w := newWorld(t)
		w.change(func(tx *store.Tx) { w.subsets(tx, "v1"); w.listen(tx, "v1") })
		c := w.connect()
		for k, names := range map[kind][]string{clusters: nil, endpoints: {name("v1")}, routes: {"http.80"}} {
			c.ask(k, names...)
			out = append(out, c.next(k).Resources[0].Version)
			c.cancel()
			c = w.connect()
		}
		slices.Sort(out)
		return out
	}
	if d := cmp.Diff(versions(), versions()); d != "" {
		t.Error(d)
	}
}

// A subset is renamed, with the route that leads to it, in one commit.
func TestMakeBeforeBreak(t *testing.T) {
	w := newWorld(t)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1"); w.listen(tx, "v1") })
	c := w.connect()
	c.start("v1")
	w.change(func(tx *store.Tx) { w.subsets(tx, "v2"); w.listen(tx, "v2") })

	cds := c.next(clusters)
	if d := cmp.Diff([]string{name("v2")}, contents(cds)); d != "" {
		t.Fatalf("the old cluster must not go yet: %s", d)
	}
	c.silent() // routes wait for the answer
	c.ack(cds)
	c.silent() // and for the endpoints
	c.ask(endpoints, name("v2"))
	eds := c.next(endpoints)
	c.silent()
	c.ack(eds)
	rds := c.next(routes)
	c.silent() // the old cluster waits for the routes
	c.ack(rds)
	got := []string{}
	for range 2 {
		r := <-c.got
		c.ack(r)
		got = append(got, contents(r)...)
	}
	if d := cmp.Diff([]string{"-" + name("v1"), "-" + name("v1")}, got); d != "" { // cluster and endpoints
		t.Error(d)
	}
	c.silent()
}

// Envoy makes a changed cluster anew, and waits for endpoints that it does not ask for.
func TestChangedClusterGetsItsEndpointsAgain(t *testing.T) {
	w := newWorld(t)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1"); w.listen(tx, "v1") })
	c := w.connect()
	c.start("v1")
	w.change(func(tx *store.Tx) {
		w.put(tx, "clusters", clusterID(key("v1")), &model.Cluster{Destination: destination("v1"), Policy: model.TrafficPolicy{TLS: &model.ClientTLS{Mode: model.TLSSimple}}})
		w.listen(tx, "")
	})
	cds := c.next(clusters)
	c.expect(endpoints, name("v1"))
	c.silent() // Envoy acknowledges the cluster when it is warm
	c.ack(cds)
	c.expect(routes, "http.80")
}

func TestRoutesDoNotWaitForEver(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.WarmWait = time.Millisecond })
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1"); w.listen(tx, "v1") })
	c := w.connect()
	c.ask(clusters)
	c.expect(clusters, name("v1"))
	c.ask(routes, "http.80") // without a word about endpoints
	c.expect(routes, "http.80")
}

func TestRejectedRoutesKeepOldClusters(t *testing.T) {
	w := newWorld(t)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1"); w.listen(tx, "v1") })
	c := w.connect()
	c.start("v1")
	w.change(func(tx *store.Tx) { w.subsets(tx, "v2"); w.listen(tx, "v2") })
	c.expect(clusters, name("v2"))
	c.ask(endpoints, name("v2"))
	c.expect(endpoints, name("v2"))
	c.nack(c.next(routes), "no such thing")
	c.silent()
	w.status(func(s []ProxyStatus) string {
		rds := s[0].of(routes)
		if rds.Synced() || rds.Uses == "" {
			return fmt.Sprintf("%+v", rds)
		}
		return cmp.Diff([]Rejected{{"http.80", "no such thing"}}, rds.Rejected)
	})
	w.change(func(tx *store.Tx) { w.subsets(tx, "v2", "v3"); w.listen(tx, "v3") }) // news is not held up
	c.expect(clusters, name("v3"))
	c.ask(endpoints, name("v3"))
	c.expect(endpoints, name("v3"))
	c.expect(routes, "http.80")
	for range 2 {
		r := <-c.got
		c.ack(r)
		if got := contents(r); !slices.Equal(got, []string{"-" + name("v1")}) {
			t.Errorf("%v", got)
		}
	}
	c.silent()
	w.status(func(s []ProxyStatus) string {
		if rds := s[0].of(routes); len(rds.Rejected) != 0 || !rds.Synced() || rds.Uses == "" {
			return fmt.Sprintf("%+v", rds)
		}
		return ""
	})
}

// A resource that is rejected costs only itself.
func TestBadOneIsFound(t *testing.T) {
	w := newWorld(t)
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("v%02d", i))
	}
	w.change(func(tx *store.Tx) { w.subsets(tx, all...) })
	c := w.connect()
	c.ask(clusters)
	taken := map[string]bool{}
	rejections := 0
	for len(taken) < len(all)-1 {
		r := c.next(clusters)
		if slices.Contains(contents(r), name("v07")) {
			rejections++
			c.nack(r, "v07 is bad")
			continue
		}
		for _, n := range contents(r) {
			taken[n] = true
		}
		c.ack(r)
	}
	c.silent()
	if rejections > 6 {
		t.Errorf("rejected %d times", rejections)
	}
	w.status(func(s []ProxyStatus) string {
		x := s[0].of(clusters)
		if x.Acked != 19 || x.Wanted != 20 {
			return fmt.Sprintf("%+v", x)
		}
		return cmp.Diff([]Rejected{{name("v07"), "v07 is bad"}}, x.Rejected)
	})
}

func TestSecretsAreForThoseWhoAreNamed(t *testing.T) {
	w := newWorld(t)
	secret := func(tx *store.Tx, ns, n, content string) {
		o := model.ObjectName{Namespace: ns, Name: n}
		w.put(tx, "secrets", o.String(), &model.Secret{Name: o, Certificate: []byte(content), Key: []byte("key"), CA: []byte("ca of " + content)})
	}
	named := func(tx *store.Tx, names ...model.ObjectName) { w.put(tx, "names", gateway.String(), names) }
	web, other := model.ObjectName{Namespace: "weft-system", Name: "web"}, model.ObjectName{Namespace: "shop", Name: "web"}
	w.change(func(tx *store.Tx) {
		secret(tx, "weft-system", "web", "1")
		secret(tx, "weft-system", "root", "2")
		secret(tx, "shop", "web", "3")
		named(tx, web)
	})
	c := w.connect()
	ask := []string{"kubernetes://root", "kubernetes://shop/web", "kubernetes://web", "kubernetes://web-cacert", "kubernetes:///x", "kubernetes://a/b/c", "default"}
	c.ask(secrets, ask...)
	c.expect(secrets, "kubernetes://web", "kubernetes://web-cacert", "-default", "-kubernetes:///x", "-kubernetes://a/b/c", "-kubernetes://root", "-kubernetes://shop/web")
	if n := testutil.ToFloat64(w.srv.metrics.denied); n != 5 {
		t.Errorf("%v denials counted", n)
	}
	w.change(func(tx *store.Tx) { named(tx, web, other) })
	c.expect(secrets, "kubernetes://shop/web")
	w.change(func(tx *store.Tx) { named(tx, other) })
	c.expect(secrets, "-kubernetes://web", "-kubernetes://web-cacert")
	w.change(func(tx *store.Tx) { secret(tx, "shop", "web", "4") })
	c.expect(secrets, "kubernetes://shop/web")
	w.change(func(tx *store.Tx) { w.del(tx, "secrets", "shop/web") })
	c.expect(secrets, "-kubernetes://shop/web")
}

func TestStrangersAreRefused(t *testing.T) {
	var err error
	w := newWorld(t, func(o *Options) {
		o.Authenticate = func(context.Context) (Client, error) { return Client{}, err }
	})
	for _, x := range []struct {
		err  error
		code codes.Code
	}{{errors.New("who are you"), codes.Unauthenticated}, {status.Error(codes.Unavailable, "later"), codes.Unavailable}} {
		err = x.err
		if got := status.Code(<-w.connect().closed); got != x.code {
			t.Errorf("%v: %v", x.err, got)
		}
	}
}

// One address cannot use up what there is for all.
func TestOneAddressCallsTooOften(t *testing.T) {
	s := newWorld(t).srv
	from := func(addr string) error {
		_, err := s.tap(peer.NewContext(t.Context(), &peer.Peer{Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))}), nil)
		return err
	}
	refused := 0
	for n := range 4 * peerAtOnce {
		if err := from(fmt.Sprintf("10.244.1.7:%d", 1024+n)); status.Code(err) == codes.ResourceExhausted {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused == 0 {
		t.Error("none is refused")
	}
	if err := from("10.244.1.8:1024"); err != nil {
		t.Errorf("another address: %v", err)
	}
}

func TestTooManyNames(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxNames = 3 })
	c := w.connect()
	c.ask(endpoints, "a", "b", "c", "d")
	if got := status.Code(<-c.closed); got != codes.ResourceExhausted {
		t.Error(got)
	}
}

// A client that does not answer gets the latest when it does, and holds up nobody.
func TestSlowClient(t *testing.T) {
	w := newWorld(t)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1"); w.listen(tx, "v1") })
	slow, fast := w.connect(), w.connect()
	slow.start("v1")
	fast.start("v1")
	w.change(func(tx *store.Tx) { w.endpoints(tx, "v1", 1000) })
	unanswered := slow.next(endpoints)
	for port := uint16(1001); port <= 1100; port++ {
		w.change(func(tx *store.Tx) { w.endpoints(tx, "v1", port) })
	}
	last := ""
	for last == "" {
		r := fast.next(endpoints)
		fast.ack(r)
		if strings.Contains(r.Resources[0].Resource.String(), "1100") {
			last = r.Resources[0].Version
		}
	}
	slow.ack(unanswered)
	for {
		r := slow.expect(endpoints, name("v1"))
		if r.Resources[0].Version == last {
			break
		}
		t.Error("a slow client is sent what is overtaken")
	}
	slow.silent()
}

func TestLargeSetsComeInParts(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxResponseBytes = 2000 })
	var all []string
	for i := range 30 {
		all = append(all, fmt.Sprintf("v%02d", i))
	}
	w.change(func(tx *store.Tx) { w.subsets(tx, all...) })
	c := w.connect()
	c.ask(clusters)
	var got []string
	parts := 0
	for len(got) < len(all) {
		r := c.next(clusters)
		got = append(got, contents(r)...)
		parts++
		c.ack(r)
	}
	c.silent()
	if parts < 2 || !slices.IsSorted(got) || len(got) != len(all) {
		t.Errorf("%d parts: %v", parts, got)
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1"); w.listen(tx, "v1") })
	c := w.connect()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[clusters]})
	c.next(clusters)
	c.silent()
	want := []ProxyStatus{{Proxy: "weft-system/gateway-1", Fleet: "weft-system/istio=ingressgateway", Types: []TypeStatus{{Type: "CDS", Wanted: 1}, {Type: "SDS"}}}}
	s := w.status(func(s []ProxyStatus) string {
		return cmp.Diff(want, s, cmpopts.IgnoreFields(ProxyStatus{}, "Since", "Peer"), cmpopts.IgnoreFields(TypeStatus{}, "Version", "Pushed"))
	})
	if s[0].Types[0].Synced() || !s[0].Types[1].Synced() {
		t.Errorf("%+v", s[0].Types)
	}
	c.cancel()
	w.status(func(s []ProxyStatus) string {
		if len(s) > 0 {
			return "a client that has gone is still listed"
		}
		return ""
	})
}

// An edit of one host among many marshals that host and no other.
func TestOneHostOfMany(t *testing.T) {
	w := newWorld(t)
	hosts := make([]*model.VirtualHost, 300)
	for i := range hosts {
		hosts[i] = host(fmt.Sprintf("h%03d", i), "v1")
	}
	w.change(func(tx *store.Tx) {
		w.put(tx, "tables", gateway.String()+" http.80", &model.RouteTable{Name: "http.80", Hosts: hosts})
	})
	c := w.connect()
	c.ask(routes, "http.80")
	before := c.expect(routes, "http.80").Resources[0].Version
	runs := func() (n uint64) {
		for _, q := range w.s.DB().Stats().Queries {
			if q.Name == "xds/host" {
				n = q.Runs
			}
		}
		return n
	}
	n := runs()
	edited := slices.Clone(hosts)
	edited[7] = host("h007", "v2")
	w.change(func(tx *store.Tx) {
		w.put(tx, "tables", gateway.String()+" http.80", &model.RouteTable{Name: "http.80", Hosts: edited})
	})
	if after := c.expect(routes, "http.80").Resources[0].Version; after == before {
		t.Error("the version is the same")
	}
	if d := runs() - n; d != 1 {
		t.Errorf("%d hosts were made anew", d)
	}
}

// A cluster that is changed and then no longer wanted is warmed with the endpoints it had: routes still lead there.
func TestChangedClusterThatGoes(t *testing.T) {
	w := newWorld(t)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1"); w.listen(tx, "v1") })
	c := w.connect()
	c.start("v1")
	w.change(func(tx *store.Tx) { w.endpoints(tx, "v1", 8081) })
	held := c.next(endpoints) // so that the next must wait
	w.change(func(tx *store.Tx) {
		w.put(tx, "clusters", clusterID(key("v1")), &model.Cluster{Destination: destination("v1"), Policy: model.TrafficPolicy{TLS: &model.ClientTLS{Mode: model.TLSSimple}}})
	})
	cds := c.next(clusters)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v2"); w.listen(tx, "v2") })
	c.silent()
	c.ack(held)
	c.expect(endpoints, name("v1"))
	c.ack(cds)
	c.expect(clusters, name("v2"))
}

// A cluster whose endpoints are gone before the client could ask for them is one that routes do not lead to any more.
func TestClusterThatGoesBeforeItIsUsed(t *testing.T) {
	w := newWorld(t)
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1"); w.listen(tx, "v1") })
	c := w.connect()
	c.start("v1")
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1", "v2"); w.listen(tx, "v2") })
	c.expect(clusters, name("v2"))
	w.change(func(tx *store.Tx) { w.subsets(tx, "v1", "v3"); w.listen(tx, "v3") })
	c.ask(endpoints, name("v2"))
	eds := c.next(endpoints)
	if got := contents(eds); !slices.Equal(got, []string{"-" + name("v2")}) {
		t.Fatal(got)
	}
	c.ack(eds)
	c.expect(clusters, name("v3"))
	c.ask(endpoints, name("v3"))
	c.expect(endpoints, name("v3"))
	c.expect(routes, "http.80")
	c.expect(clusters, "-"+name("v2"))
	c.silent()
}
