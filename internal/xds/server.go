package xds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/limit"
	"github.com/weftmesh/weft/internal/model"
)

// Client is who a proxy is, as authentication says.
type Client struct {
	Fleet          model.Fleet
	Pod            string // "" if it is none
	ServiceAccount string
	Sidecar        *model.Sidecar // what it is told depends on, if it is the sidecar of a Pod; nil: it is a gateway
}

// String reads "weft-system/gateway-1", or names the fleet if there is no Pod.
func (c Client) String() string {
	if c.Pod == "" {
		return c.Fleet.String()
	}
	return c.Fleet.Namespace + "/" + c.Pod
}

// Options are what a [Server] is made of. DB, Resources and Authenticate must be given; the other zero values have the defaults that are named.
type Options struct {
	DB        *derive.DB
	Resources *Resources
	Mesh      *Mesh // nil: sidecars are told nothing

	// Authenticate says who the client of a stream is, by what its context holds (peer, metadata). A gRPC status in its error is kept; every
	// other error is Unauthenticated.
	Authenticate func(context.Context) (Client, error)

	// Services registers what is served beside on the same connections; nil is nothing. Who calls it is for each service to find out.
	Services func(grpc.ServiceRegistrar)

	Identifier string // of this server, for those who look at a proxy's configuration

	MaxResponseBytes int           // of one response, unless one resource alone is larger; 0 is 3 MiB
	MaxNames         int           // that a client may subscribe to, of each type; 0 is 50,000
	WarmWait         time.Duration // how long routes wait for a client to ask for the endpoints of a cluster; 0 is 5 s
	StreamsPerSecond float64       // how many streams begin; more wait. 0 is 100
	MaxConnections   int           // 0 is 10,000

	Log        *slog.Logger          // nil: slog.Default
	Registerer prometheus.Registerer // nil: no metrics
}

// How many calls one address may begin, whoever it is: nobody without a credential may use up what there is for all. Proxies behind one address of a
// translating router share it.
const peerPerSecond, peerAtOnce = 30, 600

// Server serves resources to proxies. Its methods are safe for concurrent use.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	o       Options
	metrics *metrics
	admit   *rate.Limiter
	peers   *limit.Each[netip.Addr]

	readers sync.WaitGroup

	mu      sync.Mutex
	streams map[*stream]struct{}
}

// New makes a server. The error is about options that are missing, or metrics that cannot be registered.
func New(o Options) (*Server, error) {
	if o.DB == nil || o.Resources == nil || o.Authenticate == nil {
		return nil, errors.New("xds: DB, Resources and Authenticate must be given")
	}
	o.MaxResponseBytes = cmp.Or(o.MaxResponseBytes, 3<<20)
	o.MaxNames = cmp.Or(o.MaxNames, 50_000)
	o.WarmWait = cmp.Or(o.WarmWait, 5*time.Second)
	o.StreamsPerSecond = cmp.Or(o.StreamsPerSecond, 100)
	o.MaxConnections = cmp.Or(o.MaxConnections, 10_000)
	o.Log = cmp.Or(o.Log, slog.Default())
	s := &Server{o: o, streams: map[*stream]struct{}{}, admit: rate.NewLimiter(rate.Limit(o.StreamsPerSecond), int(o.StreamsPerSecond)+1),
		peers: limit.NewEach[netip.Addr](peerPerSecond, peerAtOnce)}
	var err error
	s.metrics, err = newMetrics(o.Registerer, s.count)
	return s, err
}

// Serve answers on a listener until ctx ends. The model must be complete: what it does not have is taken from clients that come back. options add to those that the server needs: credentials, above all.
func (s *Server) Serve(ctx context.Context, l net.Listener, options ...grpc.ServerOption) error {
	g := grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(16 << 20), // names and versions of everything that a client has, when it comes back
		grpc.MaxConcurrentStreams(16),
		grpc.InTapHandle(s.tap),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// A client moves on now and then, so that replicas share the load and credentials are looked at again.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, MaxConnectionAge: 30 * time.Minute, MaxConnectionAgeGrace: 10 * time.Second}),
	}, options...)...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
	if s.o.Services != nil {
		s.o.Services(g)
	}
	defer context.AfterFunc(ctx, g.Stop)()
	defer s.readers.Wait()
	if err := g.Serve(netutil.LimitListener(l, s.o.MaxConnections)); err != nil && ctx.Err() == nil {
		return fmt.Errorf("xds: %w", err)
	}
	return nil
}

// tap is asked before anything is done for a call, of whatever service.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return ctx, nil
	}
	from, err := netip.ParseAddrPort(p.Addr.String())
	if err == nil && !s.peers.Allow(from.Addr().Unmap()) {
		s.metrics.refused.Inc()
		return nil, status.Errorf(codes.ResourceExhausted, "%v calls too often", from.Addr())
	}
	return ctx, nil
}

// DeltaAggregatedResources serves one client.
func (s *Server) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	if err := s.admit.Wait(ctx); err != nil {
		return status.Error(codes.ResourceExhausted, "too many clients at once")
	}
	from := ""
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		from = p.Addr.String()
	}
	client, err := s.o.Authenticate(ctx)
	if err != nil {
		s.metrics.refused.Inc()
		s.o.Log.Warn("a client is refused", "peer", from, "error", err)
		if _, given := status.FromError(err); given {
			return err
		}
		return status.Error(codes.Unauthenticated, err.Error())
	}
	st := newStream(s, client, from)
	s.mu.Lock()
	s.streams[st] = struct{}{}
	s.mu.Unlock()
	st.log.Info("a proxy has connected")

	requests := make(chan *discoveryv3.DeltaDiscoveryRequest, 8) // more wait in the connection
	s.readers.Go(func() { read(ctx, g, requests) })              // ends when this function has returned
	err = st.run(ctx, requests, g.Send)
	st.close()
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	st.log.Info("a proxy has gone", "error", err)
	if errors.Is(err, errTooMany) {
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	return nil
}

// read hands requests over until the client or the stream ends.
func read(ctx context.Context, g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer, requests chan<- *discoveryv3.DeltaDiscoveryRequest) {
	defer close(requests)
	for {
		r, err := g.Recv()
		if err != nil {
			return
		}
		select {
		case requests <- r:
		case <-ctx.Done():
			return
		}
	}
}

// Status tells of every client, sorted by name.
func (s *Server) Status() (out []ProxyStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams {
		out = append(out, *st.status.Load())
	}
	slices.SortFunc(out, func(a, b ProxyStatus) int { return cmp.Or(strings.Compare(a.Proxy, b.Proxy), a.Since.Compare(b.Since)) })
	return out
}

func (s *Server) count() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return float64(len(s.streams))
}
