package bootstrap

import (
	"os"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

// Identity is who a proxy says it is to its control plane.
type Identity struct {
	// Kind is "router" for a gateway, "sidecar" for a Pod's proxy, as Istio's node IDs begin.
	Kind            string
	Name, Namespace string
	Address         string // of the Pod
	Labels          map[string]string
	Cluster         string // the workload's name
	ServiceAccount  string
	Version         string
}

// Node makes the identity that is sent with the first request: Istio's form of ID and metadata.
func (id Identity) Node() *corev3.Node {
	kind := id.Kind
	if kind == "" {
		kind = "router"
	}
	labels := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range id.Labels {
		labels.Fields[k] = structpb.NewStringValue(v)
	}
	fields := map[string]*structpb.Value{
		"NAME":      structpb.NewStringValue(id.Name),
		"NAMESPACE": structpb.NewStringValue(id.Namespace),
		"LABELS":    structpb.NewStructValue(labels),
	}
	for name, v := range map[string]string{"WORKLOAD_NAME": id.Cluster, "SERVICE_ACCOUNT": id.ServiceAccount, "INSTANCE_IPS": id.Address} {
		if v != "" {
			fields[name] = structpb.NewStringValue(v)
		}
	}
	return &corev3.Node{
		Id:            strings.Join([]string{kind, id.Address, id.Name + "." + id.Namespace, id.Namespace + ".svc.cluster.local"}, "~"),
		Cluster:       id.Cluster,
		Metadata:      &structpb.Struct{Fields: fields},
		UserAgentName: "weft", UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: id.Version},
		ClientFeatures: []string{meshpb.Feature},
	}
}

// FromEnvironment fills in what is not known yet from the variables that the downward API sets in a Pod: POD_NAME, POD_NAMESPACE, POD_IP and SERVICE_ACCOUNT.
func (id Identity) FromEnvironment() Identity {
	for _, v := range []struct {
		field *string
		name  string
	}{{&id.Name, "POD_NAME"}, {&id.Namespace, "POD_NAMESPACE"}, {&id.Address, "INSTANCE_IP"}, {&id.Address, "POD_IP"}, {&id.ServiceAccount, "SERVICE_ACCOUNT"}} {
		if *v.field == "" {
			*v.field = os.Getenv(v.name)
		}
	}
	if id.Name == "" {
		id.Name, _ = os.Hostname()
	}
	return id
}

// Told is the configuration of a proxy that gets everything from one server.
func Told(node *corev3.Node, x XDS) *Config {
	x.Listeners, x.Clusters = true, true
	return &Config{Node: node, XDS: &x}
}

// ToldSidecar is the configuration of a Pod's proxy that gets everything from weft's control plane: the listeners that the Pod's connections are
// redirected to, by name, and the index of the mesh.
func ToldSidecar(node *corev3.Node, x XDS) *Config {
	x.Index, x.Names = true, []string{"virtualInbound", "weftOutbound"}
	return &Config{Node: node, XDS: &x}
}
