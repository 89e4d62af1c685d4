package outbound

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/internal/proxy/detect"
	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/hcm"
	"github.com/weftmesh/weft/internal/proxy/index"
	"github.com/weftmesh/weft/internal/proxy/listen"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/proxy/route"
	"github.com/weftmesh/weft/internal/proxy/tcp"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// Env is what the filter goes by. Nothing in it changes.
type Env struct {
	Index *index.Index
	HTTP  *hcm.Env
	TCP   *tcp.Env
	// Routes gives the source of the routes of a Service at a port, and has them fetched; it waits a while for the first.
	Routes func(ctx context.Context, s *index.Service, port uint16) *hcm.Routes
	// Clusters gives the clusters of Services at a port, those that there are, and has them fetched; it waits a while for their first endpoints.
	Clusters func(ctx context.Context, port uint16, services ...*index.Service) []*upstream.Cluster
	// Cluster gives the cluster of a name, nil if there is none, and has it fetched; it waits a while for its first endpoints.
	Cluster func(ctx context.Context, name string) *upstream.Cluster
	// Workload is who runs at an address; it waits a while for that to be known. nil is nobody of the mesh.
	Workload func(ctx context.Context, ip netip.Addr) *meshpb.Workload
	Learned  *listen.Learned
}

// Filter is a compiled Outbound. It does not change.
type Filter struct {
	env         *Env
	scope       index.Scope
	http        *hcm.Manager
	tcp         *tcp.Proxy
	passthrough string
	workloads   string
	// Routes of one route each, to what has no Service.
	onward, mesh *hcm.Routes
}

// New compiles an Outbound. Errors name the field.
func New(m *meshpb.Outbound, env *Env) (*Filter, error) {
	f := &Filter{env: env, scope: index.Scope{Namespace: m.GetNamespace(), Domain: m.GetClusterDomain()}, passthrough: m.GetPassthrough(), workloads: m.GetWorkloads()}
	for _, v := range []struct{ name, value string }{{"cluster_domain", f.scope.Domain}, {"passthrough", f.passthrough}, {"workloads", f.workloads}} {
		if v.value == "" {
			return nil, field.Errorf(v.name, "is empty")
		}
	}
	http := &hcmv3.HttpConnectionManager{}
	if err := m.GetHttp().UnmarshalTo(http); err != nil {
		return nil, field.In("http", err)
	}
	var err error
	if f.http, err = hcm.NewDirected(http, env.HTTP); err != nil {
		return nil, field.In("http", err)
	}
	bytes := &tcpv3.TcpProxy{}
	if err := m.GetTcp().UnmarshalTo(bytes); err != nil {
		return nil, field.In("tcp", err)
	}
	bytes = proto.CloneOf(bytes)
	bytes.ClusterSpecifier = &tcpv3.TcpProxy_Cluster{Cluster: f.passthrough}
	if f.tcp, err = tcp.New(bytes, "", env.TCP); err != nil {
		return nil, field.In("tcp", err)
	}
	if f.onward, err = f.only("allow_any", f.passthrough); err == nil {
		f.mesh, err = f.only("workloads", f.workloads)
	}
	return f, err
}

// Clusters are the names of those that the filter itself leads to.
func (f *Filter) Clusters() []string { return []string{f.passthrough, f.workloads} }

// blackHole is a cluster that never exists: what leads there is refused, with the status that Istio's proxies give.
const blackHole = "BlackHoleCluster"

// only makes the routes that lead everything to one cluster.
func (f *Filter) only(name, cluster string) (*hcm.Routes, error) {
	r := &routev3.Route{Name: name, Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}}
	if cluster == blackHole {
		r.Name = "block_all"
		r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 502}}
	} else {
		r.Action = &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}, Timeout: durationpb.New(0)}}
	}
	table, err := route.Compile(&routev3.RouteConfiguration{Name: r.Name, VirtualHosts: []*routev3.VirtualHost{{
		Name: r.Name, Domains: []string{"*"}, Routes: []*routev3.Route{r},
	}}}, route.Options{Format: f.env.HTTP.Format, Filters: f.env.HTTP.Filters})
	if err != nil {
		return nil, err
	}
	routes := hcm.NewRoutes()
	routes.Set(table)
	return routes, nil
}

// ServeConn implements [listen.Handler].
func (f *Filter) ServeConn(ctx context.Context, c *listen.Conn) {
	if c.Local == local(c.Net) { // it was not redirected, so it would come back for ever
		return
	}
	to := f.find(ctx, c.Local)
	switch {
	case to.protocol == meshpb.Protocol_HTTP || to.protocol == meshpb.Protocol_HTTP2:
		f.serveHTTP(ctx, c, &to)
	case to.rules.Names():
		f.byName(ctx, c, &to)
	case to.protocol == meshpb.Protocol_AUTO:
		f.findOut(ctx, c, &to)
	default:
		f.open(ctx, c, &to).Serve(ctx, nil)
	}
}

// hello is how long a client has to begin with TLS where the name in it decides; then it is none.
const hello = 5 * time.Second

// byName leads a connection by the name that the client begins TLS with. The server is not known before, so it cannot speak first.
func (f *Filter) byName(ctx context.Context, c *listen.Conn, to *place) {
	_ = c.Net.SetReadDeadline(time.Now().Add(hello))
	a, err := detect.Read(c.Net, detect.Question{TLS: true, HTTP: to.protocol == meshpb.Protocol_AUTO})
	if c.Prefix = a.Read; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	_ = c.Net.SetReadDeadline(time.Time{})
	if a.Protocol != "" {
		f.serveHTTP(ctx, c, to)
		return
	}
	c.ServerName, c.ALPN = a.Hello.ServerName, a.Hello.Protocols
	f.open(ctx, c, to).Serve(ctx, nil)
}

func local(nc net.Conn) netip.AddrPort {
	t, ok := nc.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := t.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// findOut carries HTTP as such, and the rest as bytes.
func (f *Filter) findOut(ctx context.Context, c *listen.Conn, to *place) {
	if f.env.Learned.ServerFirst(c.Local) {
		f.open(ctx, c, to).Serve(ctx, nil)
		return
	}
	a, opening, said, err := listen.Race(ctx, c, detect.Question{HTTP: true}, 0, func(ctx context.Context) listen.Opening { return f.open(ctx, c, to) },
		func(a *detect.Answer) bool { return a.Protocol == "" })
	if err != nil {
		return
	}
	f.env.Learned.Note(c.Local, said, len(c.Prefix) > 0)
	if a.Protocol == "" {
		opening.Serve(ctx, said)
		return
	}
	f.serveHTTP(ctx, c, to)
}

func (f *Filter) serveHTTP(ctx context.Context, c *listen.Conn, to *place) {
	f.http.ServeDirected(ctx, c, &director{f: f, at: c.Local, place: to})
}

// open connects to where bytes go.
func (f *Filter) open(ctx context.Context, c *listen.Conn, to *place) listen.Opening {
	return f.tcp.OpenTo(ctx, c, f.target(ctx, c, to))
}

// target finds out where bytes go: by a rule, to the Service, or as the place says.
func (f *Filter) target(ctx context.Context, c *listen.Conn, to *place) tcp.Target {
	target, own := to.target, ""
	if to.service != nil {
		own = to.service.Cluster(to.port.Number)
	}
	rule := to.rules.For(c.Local.Addr(), c.ServerName)
	switch {
	case rule != nil:
		target.Origin, target.Identities = rule.Origin, ""
		if target.Cluster = rule.Cluster(); target.Cluster == "" {
			target.Cluster = blackHole
		} else if f.env.Cluster(ctx, target.Cluster) == nil && target.Cluster == own {
			target.Cluster = "" // nobody has said more of the Service than the index
		}
	case len(to.rules) > 0: // of what no rule takes the Service knows nothing
	case own != "" && target.Cluster == "":
		if cluster := f.env.Cluster(ctx, own); cluster != nil {
			target.Cluster = own
		}
	}
	if target.Cluster == "" {
		if target.Cluster = f.passthrough; to.port.MeshTLS { // its address leads there, and only to who is one of its servers
			target.Cluster, target.Identities = f.workloads, to.service.Identities
		}
	}
	return target
}

// place is what a destination stands for.
type place struct {
	service  *index.Service // nil: nothing that has a name
	port     *index.Port    // of the Service
	protocol meshpb.Protocol
	// rules say where bytes go; none: to target.
	rules index.Rules
	// target is where bytes go that no rule takes. Its cluster is "" where that is the Service's.
	target tcp.Target
}

// find tells what a destination stands for.
func (f *Filter) find(ctx context.Context, at netip.AddrPort) place {
	x := f.env.Index
	s, p := x.Destination(at)
	if p != nil {
		return place{service: s, port: p, protocol: p.Protocol, rules: p.Rules}
	}
	if headless := x.Headless(at.Port()); len(headless) > 0 {
		for _, c := range f.env.Clusters(ctx, at.Port(), headless...) {
			if c.Endpoint(at) == nil {
				continue
			}
			s := headless[slices.IndexFunc(headless, func(s *index.Service) bool { return s.Cluster(at.Port()) == c.Name() })]
			p := s.Port(at.Port())
			return place{service: s, port: p, protocol: p.Protocol, rules: p.Rules, target: tcp.Target{Cluster: c.Name(), Exactly: at}}
		}
	}
	to := place{protocol: meshpb.Protocol_TCP, rules: x.Anywhere(at.Port()), target: tcp.Target{Cluster: f.passthrough}}
	if x.SpeaksHTTP(at.Port()) { // then requests are led by their Host, as Istio does it
		to.protocol = meshpb.Protocol_AUTO
	}
	if w := f.env.Workload(ctx, at.Addr()); w.GetMeshTls() && !slices.Contains(w.GetPlaintextPorts(), uint32(at.Port())) {
		to.target = tcp.Target{Cluster: f.workloads, Identities: w.GetIdentity()}
	}
	return to
}
