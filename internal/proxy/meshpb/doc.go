// Package meshpb is what weft's control plane and weft's proxy say to each other beside Envoy's API: the index of a mesh's Services and workloads, and the
// filter of outgoing connections that goes by it. It holds wire types only, made from mesh.proto.
package meshpb

//go:generate ../../../scripts/protoc.sh internal/proxy/meshpb/mesh.proto

// The kinds of resources, as xDS calls them.
const (
	ServiceType  = "type.googleapis.com/weft.mesh.v1.Service"
	WorkloadType = "type.googleapis.com/weft.mesh.v1.Workload"
)

// Feature is the client feature (Node.client_features) by which a proxy says that it knows what is said here.
const Feature = "weft.mesh.v1"
