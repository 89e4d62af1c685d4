package resource

import (
	"math"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/model"
)

// Endpoints says where a cluster leads: to the endpoints that are ready, or, if there is none, to those that still serve while they terminate. A
// locality is a zone. e may be nil, which leads nowhere.
func Endpoints(cluster string, e *model.ClusterEndpoints) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: utf8(cluster)}
	if e == nil {
		return out
	}
	zones := map[string]*endpointv3.LocalityLbEndpoints{}
	for _, ep := range usable(e.Endpoints) {
		z := zones[ep.Zone]
		if z == nil {
			z = &endpointv3.LocalityLbEndpoints{}
			if ep.Zone != "" {
				z.Locality = &corev3.Locality{Zone: utf8(ep.Zone)}
			}
			zones[ep.Zone] = z
			out.Endpoints = append(out.Endpoints, z)
		}
		lb := lbEndpoint(ep.AddrPort.Addr().Unmap().String(), ep.AddrPort.Port())
		lb.Metadata, lb.LoadBalancingWeight = endpointMetadata(ep), count(ep.Weight)
		z.LbEndpoints = append(z.LbEndpoints, lb)
	}
	for _, z := range out.Endpoints {
		limitWeights(z.LbEndpoints)
	}
	slices.SortFunc(out.Endpoints, func(a, b *endpointv3.LocalityLbEndpoints) int {
		return strings.Compare(a.GetLocality().GetZone(), b.GetLocality().GetZone())
	})
	return out
}

// named says which names are to be resolved.
func named(cluster string, names []model.NamedEndpoint) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: cluster}
	if len(names) == 0 {
		return out
	}
	all := &endpointv3.LocalityLbEndpoints{}
	for _, n := range names {
		lb := lbEndpoint(n.Host, n.Port)
		lb.LoadBalancingWeight = count(n.Weight)
		all.LbEndpoints = append(all.LbEndpoints, lb)
	}
	limitWeights(all.LbEndpoints)
	out.Endpoints = []*endpointv3.LocalityLbEndpoints{all}
	return out
}

// limitWeights makes weights smaller whose sum does not fit into 32 bits, which Envoy would reject.
func limitWeights(list []*endpointv3.LbEndpoint) {
	var sum uint64
	for _, e := range list {
		sum += uint64(max(1, e.GetLoadBalancingWeight().GetValue()))
	}
	if sum <= math.MaxUint32 {
		return
	}
	for _, e := range list {
		weight := uint64(max(1, e.GetLoadBalancingWeight().GetValue())) / (1 + sum/math.MaxUint32)
		e.LoadBalancingWeight = wrapperspb.UInt32(uint32(max(1, weight)))
	}
}

// usable are the endpoints that get requests.
func usable(all []model.ClusterEndpoint) (out []model.ClusterEndpoint) {
	for _, is := range []func(model.ClusterEndpoint) bool{
		func(e model.ClusterEndpoint) bool { return e.Ready },
		func(e model.ClusterEndpoint) bool { return e.Serving && e.Terminating },
	} {
		for _, e := range all {
			if is(e) && e.AddrPort.IsValid() && e.AddrPort.Port() != 0 {
				out = append(out, e)
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

func lbEndpoint(host string, port uint16) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: utf8(host), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
		}}},
	}}}
}

// What endpoints say of themselves: by which transport socket they are spoken to, and in Istio's words who they are.
const (
	socketMatch = "envoy.transport_socket_match"
	tlsModeKey  = "tlsMode"
	tlsModeMesh = "istio"
	workloadKey = "workload"
)

func endpointMetadata(e model.ClusterEndpoint) *corev3.Metadata {
	if !e.MeshTLS && e.Owner == (model.Owner{}) {
		return nil
	}
	m := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
	if e.MeshTLS {
		m.FilterMetadata[socketMatch] = fields(tlsModeKey, tlsModeMesh)
	}
	if o := e.Owner; o != (model.Owner{}) {
		m.FilterMetadata[istioMetadata] = fields(workloadKey, strings.Join([]string{o.Workload, o.Namespace, o.Name, o.Revision, clusterID}, ";"))
	}
	return m
}

// clusterID is what this cluster is called where several are one mesh, as Istio calls the only one.
const clusterID = "Kubernetes"

// Secret says a certificate with its key, or, if ca, the CAs to verify with; nil if there is no such thing in it.
func Secret(name string, s *model.Secret, ca bool) *tlsv3.Secret {
	out := &tlsv3.Secret{Name: utf8(name)}
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	switch {
	case s == nil, ca && len(s.CA) == 0, !ca && len(s.Certificate) == 0:
		return nil
	case ca:
		out.Type = &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(s.CA)}}
	default:
		out.Type = &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(s.Certificate), PrivateKey: inline(s.Key)}}
	}
	return out
}
