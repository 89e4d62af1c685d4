// Package resource says in Envoy's v3 resources what the model says: listeners, route configurations, clusters, load assignments and secrets.
//
// Its functions are pure, and what they give depends on nothing but their arguments, so that every replica serves the same bytes. They never give
// what a proxy would reject as a whole: an element that cannot be said costs only itself (a route answers 500, a chain or a cluster is left out), and
// a [Problem] says which. Names are those that Istio uses, because people, dashboards and `istioctl` look for them. Every filter chain, route and
// cluster says in its metadata where it was declared. Listeners and clusters hold nothing that changes by itself: one byte that differs makes a proxy
// warm them again.
//
// It never decides what should happen, and knows neither clients nor the wire.
package resource

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

// Options are what resources depend on besides the model. The zero value is a gateway in a cluster.
type Options struct {
	// Address is where listeners bind; "" is "::", which takes IPv4 too.
	Address string
	// Bind gives the port that a listener binds for the port that was declared; nil: the same. A declared port for which it gives 0 is not
	// listened on.
	Bind func(declared uint16) uint16
	// AccessLog writes a line of JSON to standard output for each request and connection, with the rule's origin.
	AccessLog bool
	// Own is for weft's own proxies, which know more than Envoy does.
	Own bool
	// Domain is the cluster's; "" is "cluster.local".
	Domain string
	// SidecarLog does the same at sidecars.
	SidecarLog bool
	// RegistryOnly has sidecars refuse destinations that the mesh does not know.
	RegistryOnly bool
	// Tracing is where spans go.
	Tracing Tracing
	// SystemCAs is the file in which proxies find the CAs that everybody trusts; "" is /etc/ssl/certs/ca-certificates.crt.
	SystemCAs string
}

// Problem is something of the model that cannot be said to a proxy.
type Problem struct {
	Origin  model.Origin
	Message string
}

// TypeURL is the type of an Any, and what xDS calls a kind of resource.
const typePrefix = "type.googleapis.com/"

// The kinds of resources.
const (
	ListenerType = typePrefix + "envoy.config.listener.v3.Listener"
	RouteType    = typePrefix + "envoy.config.route.v3.RouteConfiguration"
	ClusterType  = typePrefix + "envoy.config.cluster.v3.Cluster"
	EndpointType = typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	ServiceType  = meshpb.ServiceType
	WorkloadType = meshpb.WorkloadType
	SecretType   = typePrefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
)

// Marshal gives the bytes of a message, the same for equal messages.
func Marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil { // only text that is not UTF-8; what is made here has been validated
		return nil
	}
	return b
}

// valid is nil if a message is valid by Envoy's own rules, and all its texts are text.
func valid(m interface {
	proto.Message
	ValidateAll() error
}) error {
	if err := m.ValidateAll(); err != nil {
		return err
	}
	_, err := proto.Marshal(m)
	return err
}

// pack wraps a message that is a part of another.
func pack(m proto.Message) *anypb.Any {
	return &anypb.Any{TypeUrl: typePrefix + string(m.ProtoReflect().Descriptor().FullName()), Value: Marshal(m)}
}
