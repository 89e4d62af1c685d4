package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/accesslog"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/format"
	"github.com/weftmesh/weft/internal/proxy/hcm"
	"github.com/weftmesh/weft/internal/proxy/listen"
	"github.com/weftmesh/weft/internal/proxy/peer"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/tcp"
	"github.com/weftmesh/weft/internal/proxy/tls"
	"github.com/weftmesh/weft/internal/proxy/trace"
	"github.com/weftmesh/weft/internal/proxy/upstream"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// Options are what a server runs with. The zero value of each has a meaning.
type Options struct {
	Log            *slog.Logger    // nil logs nothing
	Stats          *stats.Registry // nil is one of its own
	Node           *corev3.Node    // what the proxy says of itself; nil says nothing
	Stdout, Stderr io.Writer       // where access logs to /dev/stdout and /dev/stderr go; nil is the process's
	// WarmTimeout is how long a listener waits for its routes, and their clusters for endpoints (15 s).
	WarmTimeout time.Duration
	// ListenerDrain is how long connections may go on whose filter chain was replaced (10 min).
	ListenerDrain time.Duration
}

// ownSecret is the Secret with the certificate that says who the proxy's workload is, as Istio's control planes name it.
const ownSecret = "default"

// Source is where resources are asked for by name.
type Source interface {
	Subscribe(typeURL string, names ...string)
	Unsubscribe(typeURL string, names ...string)
	// Reachable tells whether an answer can be expected soon.
	Reachable() bool
}

// Server is a data plane. Make it with New, and Close it.
type Server struct {
	options  Options
	log      *slog.Logger
	stats    *stats.Registry
	secrets  *tls.Secrets
	clusters *upstream.Set
	files    *accesslog.Files
	sockets  *listen.Sockets
	http     *hcm.Env
	tcp      *tcp.Env
	// The same for what comes to the proxy's own workload.
	inboundHTTP *hcm.Env
	inboundTCP  *tcp.Env

	retired retired
	mesh    mesh

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	source    Source
	routes    map[string]*hcm.Routes
	needs     map[need]needs // of each resource
	needed    map[need]int   // how many resources name one
	unneeded  map[need]*unneeded
	listeners map[string]*held
	bound     map[place]*binding
	statics   []Resource
	draining  bool
	clusterOK chan struct{} // closed once the first clusters came, or none are to come
	clusterIn bool
	listensOK chan struct{} // the same for listeners
	listensIn bool
}

// held is a listener by name: what is wanted, and what is served.
type held struct {
	wanted *listener // nil: it is to go
	active *listener // nil: not yet
	err    error     // why it is not active
	cancel context.CancelFunc
}

// binding is a socket and the listener that has it.
type binding struct {
	socket *listen.Socket
	owner  string
}

// Resource is a resource in force that did not come from an xDS server.
type Resource struct {
	TypeURL, Name string
	Resource      *anypb.Any
	Since         time.Time
}

// New makes a server without configuration.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Stats == nil {
		o.Stats = stats.New(stats.Workload{})
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.WarmTimeout == 0 {
		o.WarmTimeout = 15 * time.Second
	}
	if o.ListenerDrain == 0 {
		o.ListenerDrain = 10 * time.Minute
	}
	s := &Server{
		options: o, log: o.Log, stats: o.Stats, secrets: tls.NewSecrets(), files: accesslog.NewFiles(o.Stdout, o.Stderr),
		sockets: listen.New(o.Log, o.Stats), routes: map[string]*hcm.Routes{}, needs: map[need]needs{}, needed: map[need]int{}, unneeded: map[need]*unneeded{}, listeners: map[string]*held{},
		bound: map[place]*binding{}, clusterOK: make(chan struct{}), listensOK: make(chan struct{}), retired: retired{timers: map[string]*time.Timer{}},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.clusters = upstream.NewSet(upstream.Options{Secrets: s.secrets, Log: o.Log})
	host, _ := os.Hostname()
	f := format.Options{Hostname: host, Getenv: os.Getenv}
	metrics := hcm.NewMetrics(o.Stats, func() string { return s.secrets.Identity(ownSecret) })
	s.http = &hcm.Env{
		Clusters: s.clusters, Routes: s.routesOf, OpenLog: s.files.Open, Format: f, Filters: &filter.Env{Stats: o.Stats, Fetch: s.fetch}, Metrics: metrics, Mirrors: hcm.NewMirrors(), Log: o.Log,
		Self: peer.NewSelf(o.Node.GetId(), o.Node.GetMetadata()), Exporters: trace.NewExporters(o.Stats, s.sendSpans), SpanTags: spanTags(o.Node),
	}
	s.tcp = &tcp.Env{Clusters: s.clusters, OpenLog: s.files.Open, Format: f, Counters: metrics}
	h, t := *s.http, *s.tcp
	h.Inbound, t.Inbound = true, true
	s.inboundHTTP, s.inboundTCP = &h, &t
	s.newMesh()
	o.Stats.Collect(s.collect)
	return s
}

// Static puts resources in place that do not come from an xDS server. xds says whether more comes from one, and of which types. The error names
// the first resource that is refused.
func (s *Server) Static(c *bootstrap.Config) error {
	for _, m := range c.Secrets {
		if err := s.static(xdsclient.SecretType, m.GetName(), m); err != nil {
			return err
		}
	}
	for _, m := range c.Clusters {
		if err := s.static(xdsclient.ClusterType, m.GetName(), m); err != nil {
			return err
		}
	}
	for _, m := range c.Listeners {
		if err := s.static(xdsclient.ListenerType, m.GetName(), m); err != nil {
			return err
		}
	}
	if c.XDS == nil || !c.XDS.Clusters {
		s.Applied(xdsclient.ClusterType)
	}
	if c.XDS == nil || !c.XDS.Listeners && !c.XDS.Index {
		s.Applied(xdsclient.ListenerType)
	}
	s.followMesh(c.XDS)
	s.warm()
	return nil
}

// Follow has the server ask source for what its resources name. It is called once, before any Update.
func (s *Server) Follow(source Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source = source
	for one := range s.needed {
		source.Subscribe(one.typeURL, one.name)
	}
}

// Update implements [xdsclient.Handler].
func (s *Server) Update(typeURL, name string, resource *anypb.Any) error {
	switch typeURL {
	case xdsclient.ListenerType:
		m := &listenerv3.Listener{}
		if err := resource.UnmarshalTo(m); err != nil {
			return err
		}
		return s.updateListener(m)
	case xdsclient.RouteType:
		return s.updateRoutes(name, resource)
	case xdsclient.ServiceType:
		return s.updateService(name, resource)
	case xdsclient.WorkloadType:
		return s.updateWorkload(name, resource)
	case xdsclient.ClusterType:
		m := &clusterv3.Cluster{}
		if err := resource.UnmarshalTo(m); err != nil {
			return err
		}
		return s.updateCluster(m)
	case xdsclient.EndpointType:
		m := &endpointv3.ClusterLoadAssignment{}
		if err := resource.UnmarshalTo(m); err != nil {
			return err
		}
		return s.clusters.UpdateEndpoints(m)
	case xdsclient.SecretType:
		m := &tlsv3.Secret{}
		if err := resource.UnmarshalTo(m); err != nil {
			return err
		}
		return s.secrets.Update(m)
	}
	return fmt.Errorf("resources of type %s are not known to this proxy", typeURL)
}

// Remove implements [xdsclient.Handler].
func (s *Server) Remove(typeURL, name string) {
	switch typeURL {
	case xdsclient.ListenerType:
		s.removeListener(name)
	case xdsclient.RouteType:
		if r := s.routesOf(name); r.Table() == nil {
			r.Set(nil) // there is none, and whoever waits for it waits no longer; one that there was stays in force, as with Envoy
		}
	case xdsclient.ServiceType:
		if x := s.mesh.index.RemoveService(name); x != nil {
			s.release(x)
		}
	case xdsclient.WorkloadType:
		_ = s.updateWorkload(name, nil)
	case xdsclient.ClusterType:
		s.noCluster(name)
		s.retire(name)
	case xdsclient.EndpointType:
		s.clusters.RemoveEndpoints(name)
	case xdsclient.SecretType:
		s.secrets.Remove(name)
	}
}

// Applied implements [xdsclient.Handler].
func (s *Server) Applied(typeURL string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case typeURL == xdsclient.ClusterType && !s.clusterIn:
		s.clusterIn = true
		close(s.clusterOK)
	case typeURL == xdsclient.ListenerType && !s.listensIn && len(s.mesh.awaited) == 0:
		s.listensIn = true
		close(s.listensOK)
	}
	switch typeURL {
	case xdsclient.ListenerType:
		s.settle()
	case xdsclient.ClusterType:
		close(s.mesh.arrived)
		s.mesh.arrived = make(chan struct{})
	case xdsclient.ServiceType:
		s.mesh.index.Publish()
		s.indexed()
	}
	s.sweep(time.Now())
}

// routesOf gives the source of a route table, and makes it if it is new.
func (s *Server) routesOf(name string) *hcm.Routes {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.routes[name]
	if r == nil {
		r = hcm.NewRoutes()
		s.routes[name] = r
	}
	return r
}

// Close ends everything at once.
func (s *Server) Close() {
	s.cancel()
	s.retired.close()
	s.sockets.Close()
	s.running.Wait()
	s.http.Mirrors.Wait()
	s.http.Exporters.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.clusters.Close(ctx)
	s.files.Close()
}

// spanTags is what every span says of the proxy that makes it.
func spanTags(n *corev3.Node) []byte {
	w := peer.Of(n.GetMetadata())
	tags := trace.AppendString(nil, "node_id", n.GetId())
	for _, t := range [...]struct{ name, value string }{
		{"istio.canonical_service", w.CanonicalService}, {"istio.canonical_revision", w.CanonicalRevision}, {"istio.namespace", w.Namespace},
		{"istio.cluster_id", w.Cluster}, {"istio.mesh_id", n.GetMetadata().GetFields()["MESH_ID"].GetStringValue()},
	} {
		if t.value != "" {
			tags = trace.AppendString(tags, t.name, t.value)
		}
	}
	return tags
}
