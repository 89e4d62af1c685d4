package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// patience is how long anything is waited for.
const patience = 3 * time.Minute

// sidecar is one that subscribes as weft's proxy does, and keeps nothing.
type sidecar struct {
	size
	conn   *grpc.ClientConn
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	names  map[string][]string // of each type, what it subscribes to; nil is everything

	received  atomic.Int64 // bytes
	resources [6]atomic.Int64
	target    [6]atomic.Int64 // how often what is changed came
}

// types are the kinds of resources, in the order of sidecar.resources.
var types = [6]string{resource.ServiceType, resource.WorkloadType, resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointType}

// What a change of a kind arrives as, by its place in types.
var arrivesAs = map[string]int{"endpoint": 5, "route": 3, "service": 0}

type fleet struct {
	all  []*sidecar
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func connect(ctx context.Context, address string, s size) (*fleet, error) {
	ctx, stop := context.WithCancel(ctx)
	f := &fleet{stop: stop}
	for i := range s.sidecars {
		c := &sidecar{size: s, names: map[string][]string{resource.ListenerType: {resource.InboundName, resource.IndexedOutbound}}}
		n := s.hosts
		if n == 0 {
			n = s.services
		}
		for h := range n {
			host := hostOf((target + h*(i*7+1)) % s.services) // the target is everybody's
			if s.hosts == 0 {
				host = hostOf(h)
			}
			c.names[resource.RouteType] = append(c.names[resource.RouteType], "80|"+host)
			c.names[resource.ClusterType] = append(c.names[resource.ClusterType], "outbound|80||"+host)
			c.names[resource.EndpointType] = append(c.names[resource.EndpointType], "outbound|80||"+host)
		}
		for h := range s.addresses {
			c.names[resource.WorkloadType] = append(c.names[resource.WorkloadType], s.podAddress(h%s.services, 0))
		}
		var err error
		if c.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20))); err != nil {
			return nil, err
		}
		f.all = append(f.all, c)
		c.stream, err = discoveryv3.NewAggregatedDiscoveryServiceClient(c.conn).DeltaAggregatedResources(metadata.AppendToOutgoingContext(ctx, whoHeader, fmt.Sprint(i)))
		if err != nil {
			return nil, err
		}
		for _, t := range types {
			if len(c.names[t]) == 0 && t != resource.ServiceType {
				continue // it would ask for all there is
			}
			if err := c.stream.Send(&discoveryv3.DeltaDiscoveryRequest{
				Node: &corev3.Node{Id: "bench", UserAgentName: "weft", ClientFeatures: []string{meshpb.Feature}}, TypeUrl: t, ResourceNamesSubscribe: c.names[t],
			}); err != nil {
				return nil, err
			}
		}
		f.wg.Go(func() { c.read() })
	}
	return f, nil
}

// read takes what comes, until the stream ends.
func (c *sidecar) read() {
	for {
		r, err := c.stream.Recv()
		if err != nil {
			if !errors.Is(err, io.EOF) && c.stream.Context().Err() == nil {
				fmt.Println("a sidecar's stream has ended:", err)
			}
			return
		}
		c.received.Add(int64(proto.Size(r)))
		for i, t := range types {
			if t != r.GetTypeUrl() {
				continue
			}
			for _, one := range r.GetResources() {
				c.resources[i].Add(1)
				if i == 0 || one.GetName() == "80|"+hostOf(target) || one.GetName() == "outbound|80||"+hostOf(target) {
					c.target[i].Add(1)
				}
			}
		}
		if err := c.stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}); err != nil {
			return
		}
	}
}

// full tells whether a sidecar has all that it subscribes to.
func (c *sidecar) full() bool {
	unique := func(t string) int64 {
		seen := map[string]bool{}
		for _, n := range c.names[t] {
			seen[n] = true
		}
		return int64(len(seen))
	}
	want := [6]int64{int64(c.services), unique(types[1]), 2, unique(types[3]), unique(types[4]), unique(types[5])}
	for i := range want {
		if c.resources[i].Load() < want[i] {
			return false
		}
	}
	return true
}

// wait waits until all sidecars are so.
func (f *fleet) wait(ctx context.Context, is func(*sidecar) bool) error {
	deadline := time.Now().Add(patience)
	for _, c := range f.all {
		for !is(c) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if time.Now().After(deadline) {
				return errors.New("sidecars wait in vain")
			}
			time.Sleep(200 * time.Microsecond)
		}
	}
	return nil
}

// settle waits until a change has reached all who are to be told.
func (f *fleet) settle(ctx context.Context, _ *control, kind string, round int) (int, error) {
	at := arrivesAs[kind]
	return len(f.all), f.wait(ctx, func(c *sidecar) bool {
		want := int64(round + 2) // once at the beginning, and once for each change
		if kind == "service" {
			want = int64(c.services + round + 1)
		}
		return c.target[at].Load() >= want
	})
}

func (f *fleet) bytes() (sum int64) {
	for _, c := range f.all {
		sum += c.received.Load()
	}
	return sum
}

func (f *fleet) close() {
	f.stop()
	for _, c := range f.all {
		_ = c.conn.Close()
	}
	f.wg.Wait()
}
