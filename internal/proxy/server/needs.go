package server

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/meshpb"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// need is a resource that another one names.
type need struct{ typeURL, name string }

type needs map[need]bool

// needsOf finds what a resource names that is fetched apart: route tables, endpoints, secrets. What cannot be read is left out: compiling says so.
func needsOf(m proto.Message) needs {
	n := needs{}
	n.walk(m.ProtoReflect())
	return n
}

// withClusters is needsOf, and the clusters that a resource names if those come by name.
func (s *Server) withClusters(m proto.Message) needs {
	n := needsOf(m)
	if s.mesh.named {
		clusterNames(m.ProtoReflect(), func(name string) { n[need{xdsclient.ClusterType, name}] = true })
	}
	return n
}

// clustersOf are the clusters that a RouteConfiguration names.
func (s *Server) clustersOf(resource *anypb.Any) needs {
	m, err := resource.UnmarshalNew()
	if err != nil {
		return nil
	}
	return s.withClusters(m)
}

func (n needs) walk(m protoreflect.Message) {
	switch v := m.Interface().(type) {
	case *anypb.Any:
		if inner, err := v.UnmarshalNew(); err == nil {
			n.walk(inner.ProtoReflect())
		}
		return
	case *hcmv3.Rds:
		n[need{xdsclient.RouteType, v.GetRouteConfigName()}] = true
		return
	case *tlsv3.SdsSecretConfig:
		// By another source than the stream of everything else come those that are made in this process (Server.SetSecret).
		if v.GetSdsConfig().GetAds() != nil || v.GetSdsConfig().GetSelf() != nil {
			n[need{xdsclient.SecretType, v.GetName()}] = true
		}
		return
	case *clusterv3.Cluster:
		if v.GetType() == clusterv3.Cluster_EDS {
			name := v.GetEdsClusterConfig().GetServiceName()
			if name == "" {
				name = v.GetName()
			}
			n[need{xdsclient.EndpointType, name}] = true
		}
	}
	each(m, n.walk)
}

// each calls f for every message within another.
func each(m protoreflect.Message, f func(protoreflect.Message)) {
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case d.Message() == nil && !(d.IsMap() && d.MapValue().Message() != nil):
		case d.IsList():
			for i := range v.List().Len() {
				f(v.List().Get(i).Message())
			}
		case d.IsMap():
			if d.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
					f(e.Message())
					return true
				})
			}
		default:
			f(v.Message())
		}
		return true
	})
}

// clusterNames finds the clusters that a resource names: of routes, of bytes, of traces. Those of where Secrets come from are none of ours.
func clusterNames(m protoreflect.Message, found func(string)) {
	one := func(name string) {
		if name != "" && name != blackHole {
			found(name)
		}
	}
	switch v := m.Interface().(type) {
	case *anypb.Any:
		if inner, err := v.UnmarshalNew(); err == nil {
			clusterNames(inner.ProtoReflect(), found)
		}
		return
	case *corev3.ConfigSource:
		return
	case *corev3.GrpcService_EnvoyGrpc:
		one(v.GetClusterName())
	case *routev3.RouteAction:
		one(v.GetCluster())
	case *routev3.WeightedCluster_ClusterWeight:
		one(v.GetName())
	case *routev3.RouteAction_RequestMirrorPolicy:
		one(v.GetCluster())
	case *tcpv3.TcpProxy:
		one(v.GetCluster())
	case *tcpv3.TcpProxy_WeightedCluster_ClusterWeight:
		one(v.GetName())
	case *meshpb.Outbound:
		one(v.GetPassthrough())
		one(v.GetWorkloads())
	}
	each(m, func(inner protoreflect.Message) { clusterNames(inner, found) })
}

// unneeded is something that no resource names any more. What there is of it is kept for a while: the next response may name it again, and the source
// may not know by then that it was not wanted in between.
type unneeded struct {
	since      time.Time
	subscribed bool
}

// forgetAfter is for how long that is.
const forgetAfter = time.Minute

// need notes what a resource names, and asks for what is new.
func (s *Server) need(of need, now needs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew(of, now)
}

// renew is need with s.mu held.
func (s *Server) renew(of need, now needs) {
	before := s.needs[of]
	if now == nil {
		delete(s.needs, of)
	} else {
		s.needs[of] = now
	}
	for one := range now {
		if !before[one] {
			s.wanted(one)
		}
	}
	for one := range before {
		if now[one] {
			continue
		}
		if s.needed[one]--; s.needed[one] == 0 {
			delete(s.needed, one)
			s.unneeded[one] = &unneeded{time.Now(), true}
		}
	}
}

// wanted counts one who names a resource. s.mu is held.
func (s *Server) wanted(one need) {
	s.needed[one]++
	if s.needed[one] > 1 {
		return
	}
	if one.typeURL == xdsclient.ClusterType {
		delete(s.mesh.absent, one.name) // the source says it anew
	}
	if s.source == nil {
		return
	}
	if u := s.unneeded[one]; u == nil || !u.subscribed {
		s.source.Subscribe(one.typeURL, one.name)
	}
	delete(s.unneeded, one)
}

// sweep ends subscriptions to what nobody names at the end of a response, and in time forgets what there is of it. s.mu is held.
func (s *Server) sweep(now time.Time) {
	if s.source == nil {
		return
	}
	for one, u := range s.unneeded {
		if u.subscribed {
			u.subscribed = false
			s.source.Unsubscribe(one.typeURL, one.name)
		}
		if now.Sub(u.since) < forgetAfter {
			continue
		}
		delete(s.unneeded, one)
		switch one.typeURL {
		case xdsclient.RouteType:
			delete(s.routes, one.name)
			if c := s.mesh.coming[one.name]; c != nil {
				delete(s.mesh.coming, one.name)
				c.cancel()
			}
			s.renew(one, nil)
		case xdsclient.ListenerType:
			// Its source says when there is none any more.
		case xdsclient.ClusterType:
			s.running.Go(func() { s.retire(one.name) }) // who lets clusters go holds its lock before s.mu
		case xdsclient.EndpointType:
			s.clusters.RemoveEndpoints(one.name)
		case xdsclient.SecretType:
			s.secrets.Remove(one.name)
		}
	}
}
