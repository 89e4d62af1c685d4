package compose

import (
	"cmp"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

// Edge is what the gateway proxies of the cluster carry, as queries: what every API declares of it, put together. docs/edge.md says who goes
// first where objects want the same. Values that come out equal keep their identity.
type Edge struct {
	// Gateways are the Gateways and Ingresses that a fleet serves, the oldest first.
	Gateways *derive.Query[model.Fleet, []*model.Gateway]

	// Listeners is the ports of a fleet, sorted by number.
	Listeners *derive.Query[model.Fleet, []model.Listener]

	// Tables is the route tables that a fleet's chains name; nil for a name that none does. A virtual host that did not change is the same
	// pointer as before. Domains hold names without ports, and mean every port.
	Tables *derive.Query[TableKey, *model.RouteTable]

	// Clusters is how a destination is reached; nil if nothing is there.
	Clusters *derive.Query[ClusterKey, *model.Cluster]

	// ClusterKeys is all that a fleet's tables and chains lead to and that exists, in the order of [ClusterKey.Compare].
	ClusterKeys *derive.Query[model.Fleet, []ClusterKey]

	// Endpoints is where a cluster leads. It is a query apart so that an endpoint that comes or goes leaves everything else alone. It is nil for
	// a cluster that is not there, and for one that is found by DNS.
	Endpoints *derive.Query[ClusterKey, *model.ClusterEndpoints]

	// ForSome tells whether a policy for a host is for some of the clients of a namespace, by their labels.
	ForSome *derive.Query[ClientsOf, bool]

	// Secrets is a Secret that can be used for TLS; nil if there is none, or it holds no certificate whose key fits and no CA.
	Secrets *derive.Query[model.ObjectName, *model.Secret]

	// SecretNames is every Secret that a fleet may be given, whether it exists or not, sorted: those that its chains and clusters name, of its own
	// namespace, and those that Ingresses name in theirs. Nobody may have another, also if a chain names it.
	SecretNames *derive.Query[model.Fleet, []model.ObjectName]

	o          EdgeOptions
	m          *Model
	hosts      *derive.Query[hostKey, *host]
	policies   *derive.Query[clientsKey, *model.DestinationPolicy]
	resolved   *derive.Query[resolveKey, resolution]
	ports      *derive.Query[model.Fleet, []*portServers]
	links      *derive.Query[link, *link]
	vhosts     *derive.Query[virtualHostKey, *model.VirtualHost]
	credential *derive.Query[model.ObjectName, credential]
	identities *derive.Query[hostKey, []string] // of who serves a host with the mesh's TLS
}

// TableKey names a route table: those of different fleets may have the same name.
type TableKey struct {
	Fleet model.Fleet
	Name  string
}

// ClusterKey names a cluster: a destination, with the number of a port, as some clients see it. Policies differ between namespaces, and with them
// what a subset is.
type ClusterKey struct {
	From string // the clients' namespace
	model.Destination
	Labels model.Labels // the clients'; where no policy asks for them, the cluster is the same as without
}

// Compare orders by namespace, host, port, subset and labels.
func (k ClusterKey) Compare(o ClusterKey) int {
	return cmp.Or(cmp.Compare(k.From, o.From), cmp.Compare(k.Host, o.Host), cmp.Compare(k.Port, o.Port), cmp.Compare(k.Subset, o.Subset), cmp.Compare(k.Labels, o.Labels))
}

// Shared gives the key by which all clients share a cluster that see the same: without labels, where no policy for the host asks for them.
func (e *Edge) Shared(r *derive.Reader, k ClusterKey) ClusterKey {
	if k.Labels != "" && !e.ForSome.Get(r, ClientsOf{k.From, k.Host}) {
		k.Labels = ""
	}
	return k
}

func (k ClusterKey) clients() clientsKey { return clientsKey{hostKey{k.From, k.Host}, k.Labels} }

// EdgeSource is what one API declares of the edge.
type EdgeSource interface {
	// GatewaysFor gives the Gateways whose selector picks a fleet, in any order.
	GatewaysFor(*derive.Reader, model.Fleet) []*model.Gateway
	// RouteSetsFor gives the route sets that are bound to a Gateway, in any order, and nothing for another API's. Those that mean what they meant
	// are the same pointers as before.
	RouteSetsFor(*derive.Reader, model.GatewayName) []*model.RouteSet
}

// EdgeOptions are what an [Edge] is made of besides the model of Services. Functions may be nil: then nobody declares such things.
type EdgeOptions struct {
	Domain  string // of the cluster; "": "cluster.local"
	Sources []EdgeSource

	// Pod gives what runs in a Pod, by which subsets are told apart.
	Pod func(*derive.Reader, model.ObjectName) *model.Workload
	// Entry gives the declaration of a host that is no Service, as the clients of a namespace see it.
	Entry func(r *derive.Reader, host, namespace string) *model.HostEntry
	// Workloads gives the endpoints of a namespace that are declared one by one and have these labels. The empty selector gives none.
	Workloads func(r *derive.Reader, namespace string, selector model.Labels) []*model.EntryEndpoint
	// TrustDomain is that of the mesh's identities; "": "cluster.local".
	TrustDomain string
	// Peers gives what a workload asks of its clients' connections; nil: nothing.
	Peers func(r *derive.Reader, namespace string, labels model.Labels) *model.PeerAuthentication
	// Guard gives what a workload asks of requests and connections besides.
	Guard func(r *derive.Reader, namespace string, labels model.Labels) model.Guard
	// Policies gives what holds for a host in the eyes of the clients of a namespace, the one with the best right first.
	Policies func(r *derive.Reader, host, namespace string) []*model.DestinationPolicy
}

// TableNames lists the route tables that a fleet's chains name, without doubles, in the order of ports and chains.
func (e *Edge) TableNames(r *derive.Reader, f model.Fleet) []string {
	return TableNames(e.Listeners.Get(r, f))
}

// TableNames lists the route tables that the chains of listeners name, without doubles, in their order.
func TableNames(listeners []model.Listener) (out []string) {
	seen := map[string]bool{}
	for i := range listeners {
		for j := range listeners[i].Chains {
			if name := listeners[i].Chains[j].Table; name != "" && !seen[name] {
				seen[name] = true
				out = append(out, name)
			}
		}
	}
	return out
}
