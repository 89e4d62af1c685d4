package xdsclient

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/proxy/uplink"
)

// The types of resources.
const (
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	SecretType   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	// Of a mesh that weft's own control plane knows.
	ServiceType  = meshpb.ServiceType
	WorkloadType = meshpb.WorkloadType
)

// inOrder is the types in the order in which they are asked for and restored: what others refer to comes first.
var inOrder = []string{ClusterType, EndpointType, SecretType, ListenerType, RouteType, WorkloadType, ServiceType}

// Handler gets resources. Its methods are called one after the other, never two at a time, and may call Subscribe and Unsubscribe.
type Handler interface {
	// Update brings a resource that is new or has changed. An error rejects it, and the handler keeps what it had under the name; the text reaches
	// the server. The resource must not be changed, and may be kept.
	Update(typeURL, name string, resource *anypb.Any) error
	// Remove says that there is no such resource: no more, or not at all although it was asked for.
	Remove(typeURL, name string)
	// Restoring says what names of a type the copy on disk has, before anything of it is brought: of those that come by name, what the handler asks
	// for now is brought first.
	Restoring(typeURL string, names []string)
	// Applied ends a response of the server, or what was restored from disk: nothing more belongs to it. It is acknowledged when Applied returns.
	Applied(typeURL string)
}

// Config is what a client needs. The client does not change it.
type Config struct {
	Node   *corev3.Node
	Server *bootstrap.XDS
	// Dial replaces connecting to Server.Address, for a server in this process; nil connects.
	Dial func(context.Context) (net.Conn, error)
	// Directory is where the last good configuration is kept, secrets among it; "" is nowhere. The client makes it if its parent is there.
	Directory string
	Log       *slog.Logger // nil logs nothing
	// MinBackOff and MaxBackOff are how long to wait between connections, at first and at most; 0 is 200 ms and 15 s.
	MinBackOff, MaxBackOff time.Duration
}

// Client is a client of one server. Make it with New.
type Client struct {
	config  Config
	handler Handler
	log     *slog.Logger
	disk    *disk

	mu     sync.Mutex
	types  map[string]*resources
	status Status
	lost   time.Time     // when the last stream ended, or the client was made
	kick   chan struct{} // holds one: subscriptions have changed
}

// New makes a client. Nothing happens until Run.
func New(c Config, h Handler) (*Client, error) {
	if err := uplink.Check(c.Server, c.Dial != nil); err != nil {
		return nil, fmt.Errorf("xdsclient: %w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MinBackOff == 0 {
		c.MinBackOff = 200 * time.Millisecond
	}
	if c.MaxBackOff == 0 {
		c.MaxBackOff = 15 * time.Second
	}
	cl := &Client{
		config: c, handler: h, log: c.Log.With("server", c.Server.Address), types: map[string]*resources{}, lost: time.Now(), kick: make(chan struct{}, 1),
	}
	for _, url := range inOrder {
		cl.types[url] = &resources{url: url, wanted: map[string]int{}, held: map[string]*held{}, again: map[string]struct{}{}}
	}
	cl.types[ListenerType].wildcard = c.Server.Listeners
	cl.types[ClusterType].wildcard = c.Server.Clusters
	cl.types[ServiceType].wildcard = c.Server.Index
	if c.Directory != "" {
		cl.disk = &disk{directory: c.Directory, node: c.Node.GetId(), dirty: map[string]bool{}, wake: make(chan struct{}, 1)}
	}
	return cl, nil
}

// Run restores what is kept on disk, then fetches until the context ends. It returns the context's error.
func (c *Client) Run(ctx context.Context) error {
	if c.disk != nil {
		c.restore()
		var wait sync.WaitGroup
		defer wait.Wait()
		wait.Go(func() { c.keep(ctx) })
	}
	delay := c.config.MinBackOff
	for {
		begun := time.Now()
		answered, err := c.connect(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if answered || time.Since(begun) > c.config.MaxBackOff { // else it may be one that lets nobody in
			delay = c.config.MinBackOff
		}
		pause := delay/2 + rand.N(delay/2+1)
		c.log.Warn("the stream of configuration ended; what there is stays in force", "error", err, "again", pause)
		if err := c.pause(ctx, pause); err != nil {
			return err
		}
		delay = min(2*delay, c.config.MaxBackOff)
	}
}

// pause waits, and meanwhile brings the handler what it can have without the server.
func (c *Client) pause(ctx context.Context, d time.Duration) error {
	over := time.After(d)
	for {
		c.repeat()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			return nil
		case <-c.kick:
		}
	}
}

// connect runs one stream to its end. answered tells whether the server ever answered on it.
func (c *Client) connect(ctx context.Context) (answered bool, err error) {
	defer func() { c.disconnected(ctx, err) }()
	conn, err := uplink.Dial(c.config.Server, c.config.Dial)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	streamed, cancel := context.WithCancel(ctx)
	defer cancel()
	for k, v := range c.config.Server.Metadata {
		streamed = metadata.AppendToOutgoingContext(streamed, k, v)
	}
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(streamed)
	if err != nil {
		return false, err
	}
	s := &session{client: c, stream: stream}
	err = s.run(streamed, cancel)
	return s.answered, err
}
