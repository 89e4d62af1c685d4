package resource

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/internal/model"
)

// Names lists what clients of a namespace may call a host, less what taken has, to which they are added.
func Names(h *model.MeshHost, namespace string, o Options, taken map[string]bool) (out []string) {
	for _, name := range h.Names(namespace, o.domain()) {
		if !taken[name] {
			taken[name] = true
			out = append(out, name)
		}
	}
	return out
}

// Elsewhere is the virtual host of requests for what the mesh does not know: they go where the client wants to go, or are refused.
func Elsewhere(o Options) *routev3.VirtualHost {
	out := &routev3.VirtualHost{Name: "allow_any", Domains: []string{"*"}}
	route := &routev3.Route{Name: "allow_any", Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}}
	if o.RegistryOnly {
		out.Name, route.Name = "block_all", "block_all"
		route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 502}}
	} else {
		route.Action = &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: PassthroughCluster}, Timeout: durationpb.New(0),
		}}
	}
	out.Routes = []*routev3.Route{route}
	return out
}
