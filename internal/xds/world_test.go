package xds

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// world is an edge whose parts a test puts in place one by one, and a server of it.
type world struct {
	t     testing.TB
	s     *store.Store
	src   *store.Source
	rows  *store.Table[row]
	edge  *compose.Edge
	reg   *prometheus.Registry
	srv   *Server
	dial  func(context.Context, string) (net.Conn, error)
	fleet model.Fleet
	known []compose.ClusterKey // that have been put in place
}

type row struct {
	key   store.Key
	value any
}

var gateway = model.Fleet{Namespace: "weft-system", Labels: "istio=ingressgateway"}

func newWorld(t testing.TB, edit ...func(*Options)) *world {
	return newWorldOf(t, resource.Options{}, edit...)
}

func newWorldOf(t testing.TB, ro resource.Options, edit ...func(*Options)) *world {
	return start(&world{}, t, ro, edit...)
}

// start fills a world in.
func start(w *world, t testing.TB, ro resource.Options, edit ...func(*Options)) *world {
	*w = world{t: t, s: store.New(nil), reg: prometheus.NewRegistry(), fleet: gateway}
	w.src = w.s.Source("test")
	w.rows = store.NewTable(w.s, "Row", func(r *row) store.Key { return r.key }, func(a, b *row) bool { return reflect.DeepEqual(a, b) })
	db := w.s.DB()
	w.edge = &compose.Edge{
		Listeners:   define[model.Fleet, []model.Listener](w, "listeners", func(f model.Fleet) string { return f.String() }),
		Tables:      define[compose.TableKey, *model.RouteTable](w, "tables", func(k compose.TableKey) string { return k.Fleet.String() + " " + k.Name }),
		Clusters:    define[compose.ClusterKey, *model.Cluster](w, "clusters", clusterID),
		ClusterKeys: define[model.Fleet, []compose.ClusterKey](w, "keys", func(f model.Fleet) string { return f.String() }),
		Endpoints:   define[compose.ClusterKey, *model.ClusterEndpoints](w, "endpoints", clusterID),
		ForSome:     define[compose.ClientsOf, bool](w, "for some", func(k compose.ClientsOf) string { return k.Namespace + " " + k.Host }),
		Secrets:     define[model.ObjectName, *model.Secret](w, "secrets", func(n model.ObjectName) string { return n.String() }),
		SecretNames: define[model.Fleet, []model.ObjectName](w, "names", func(f model.Fleet) string { return f.String() }),
	}
	o := Options{
		DB: db, Resources: DefineResources(db, w.edge, ro), Identifier: "test", Registerer: w.reg, Log: slog.New(slog.DiscardHandler),
		Authenticate: func(context.Context) (Client, error) { return Client{Fleet: w.fleet, Pod: "gateway-1"}, nil },
		WarmWait:     time.Minute,
	}
	for _, e := range edit {
		e(&o)
	}
	var err error
	if w.srv, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := bufconn.Listen(1 << 20)
	w.dial = func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }
	done := make(chan error, 1)
	go func() { done <- w.srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func clusterID(k compose.ClusterKey) string {
	id := k.From + " " + resource.ClusterName(k.Destination)
	if k.Labels != "" {
		id += " for " + string(k.Labels)
	}
	return id
}

func define[K comparable, V any](w *world, name string, id func(K) string) *derive.Query[K, V] {
	return derive.Define(w.s.DB(), "test/"+name, nil, func(r *derive.Reader, k K) (v V) {
		if x := w.rows.Get(r, store.Key{Namespace: name, Name: id(k)}); x != nil {
			v = x.value.(V)
		}
		return v
	})
}

// change is a commit.
func (w *world) change(fn func(tx *store.Tx)) { w.src.Commit(fn) }

func (w *world) put(tx *store.Tx, query, id string, value any) {
	w.rows.Put(tx, &row{store.Key{Namespace: query, Name: id}, value})
}

func (w *world) del(tx *store.Tx, query, id string) {
	w.rows.Delete(tx, store.Key{Namespace: query, Name: id})
}

func destination(subset string) model.Destination {
	return model.Destination{Host: "web.shop.svc.cluster.local", Port: 80, Subset: subset}
}

func key(subset string) compose.ClusterKey {
	return compose.ClusterKey{From: gateway.Namespace, Destination: destination(subset)}
}

func name(subset string) string { return resource.ClusterName(destination(subset)) }

// subsets makes clusters with an endpoint each, and these alone.
func (w *world) subsets(tx *store.Tx, names ...string) {
	var keys []compose.ClusterKey
	for _, n := range names {
		keys = append(keys, key(n))
		w.put(tx, "clusters", clusterID(key(n)), &model.Cluster{Destination: destination(n)})
		w.endpoints(tx, n, 8080)
	}
	w.put(tx, "keys", gateway.String(), keys)
	for _, k := range w.known {
		if !slices.Contains(keys, k) {
			w.del(tx, "clusters", clusterID(k))
			w.del(tx, "endpoints", clusterID(k))
		}
	}
	w.known = keys
}

func (w *world) endpoints(tx *store.Tx, subset string, port uint16) {
	w.put(tx, "endpoints", clusterID(key(subset)), &model.ClusterEndpoints{Destination: destination(subset), Endpoints: []model.ClusterEndpoint{
		{Endpoint: model.Endpoint{AddrPort: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), Ready: true}},
	}})
}

// listen makes a listener on port 80, and its table, which leads to a subset.
func (w *world) listen(tx *store.Tx, subset string) {
	w.put(tx, "listeners", gateway.String(), []model.Listener{{Port: 80, Chains: []model.Chain{{Name: "http", Table: "http.80"}}}})
	w.put(tx, "tables", gateway.String()+" http.80", &model.RouteTable{Name: "http.80", Hosts: []*model.VirtualHost{host("web", subset)}})
}

func host(name, subset string) *model.VirtualHost {
	return &model.VirtualHost{Name: name + ":80", Domains: []string{name}, Routes: []model.Route{{To: []model.Weighted{{Destination: destination(subset)}}}}}
}

// client is a proxy, whose every word the test says.
type client struct {
	t      testing.TB
	s      discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	got    chan *discoveryv3.DeltaDiscoveryResponse
	closed chan error
	cancel func()
}

func (w *world) connect() *client {
	w.t.Helper()
	conn, err := grpc.NewClient("passthrough:weft", grpc.WithContextDialer(w.dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{t: w.t, s: s, got: make(chan *discoveryv3.DeltaDiscoveryResponse), closed: make(chan error, 1), cancel: cancel}
	go func() {
		for {
			r, err := s.Recv()
			if err != nil {
				c.closed <- err
				return
			}
			select {
			case c.got <- r:
			case <-ctx.Done():
				c.closed <- ctx.Err()
				return
			}
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		conn.Close()
	})
	return c
}

func (c *client) send(r *discoveryv3.DeltaDiscoveryRequest) {
	c.t.Helper()
	if err := c.s.Send(r); err != nil && err != io.EOF {
		c.t.Fatal(err)
	}
}

// ask subscribes to names; none is all of them.
func (c *client) ask(k kind, names ...string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[k], ResourceNamesSubscribe: names})
}

const patience = 20 * time.Second

// next waits for a response of a kind, whichever comes.
func (c *client) next(k kind) *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	select {
	case r := <-c.got:
		if r.TypeUrl != typeURLs[k] {
			c.t.Fatalf("got %s, want %v", describe(r), k)
		}
		return r
	case err := <-c.closed:
		c.t.Fatalf("the stream has ended: %v", err)
	case <-time.After(patience):
		c.t.Fatalf("nothing came of %v", k)
	}
	return nil
}

// expect waits for a response with these resources, and those removed, and accepts it.
func (c *client) expect(k kind, want ...string) *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	r := c.next(k)
	if got := contents(r); !slices.Equal(got, want) {
		c.t.Fatalf("%v: got %q, want %q", k, got, want)
	}
	c.ack(r)
	return r
}

func contents(r *discoveryv3.DeltaDiscoveryResponse) (out []string) {
	for _, x := range r.Resources {
		out = append(out, x.Name)
	}
	for _, x := range r.RemovedResources {
		out = append(out, "-"+x)
	}
	return out
}

func describe(r *discoveryv3.DeltaDiscoveryResponse) string {
	return kind(slices.Index(typeURLs[:], r.TypeUrl)).String() + " " + r.Nonce + " " + slices.Collect(slices.Values(append(contents(r), "")))[0]
}

func (c *client) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce})
}

func (c *client) nack(r *discoveryv3.DeltaDiscoveryResponse, text string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce, ErrorDetail: &status.Status{Code: 3, Message: text}})
}

// status gives what the server says of its clients, when nothing is wrong with it any more: what was sent can have arrived before the server
// has said that it sent it.
func (w *world) status(wrong func([]ProxyStatus) string) []ProxyStatus {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s := w.srv.Status()
		why := wrong(s)
		if why == "" {
			return s
		}
		if time.Now().After(deadline) {
			w.t.Fatal(why)
		}
	}
}

// of gives what is said of one kind; zero if the client did not ask for it.
func (s ProxyStatus) of(k kind) TypeStatus {
	i := slices.IndexFunc(s.Types, func(t TypeStatus) bool { return t.Type == k.String() })
	if i < 0 {
		return TypeStatus{}
	}
	return s.Types[i]
}

// silent makes sure that nothing is on its way: the answer to a question asked now comes first.
func (c *client) silent() {
	c.t.Helper()
	c.ask(secrets, "kubernetes://nobody-has-this")
	c.expect(secrets, "-kubernetes://nobody-has-this")
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURLs[secrets], ResourceNamesUnsubscribe: []string{"kubernetes://nobody-has-this"}})
}

// start brings a client up as Envoy does.
func (c *client) start(subsets ...string) {
	c.t.Helper()
	var names []string
	for _, s := range subsets {
		names = append(names, name(s))
	}
	slices.Sort(names)
	c.ask(clusters)
	c.expect(clusters, names...)
	c.ask(endpoints, names...)
	c.expect(endpoints, names...)
	c.ask(listeners)
	c.expect(listeners, "0.0.0.0_80")
	c.ask(routes, "http.80")
	c.expect(routes, "http.80")
}
