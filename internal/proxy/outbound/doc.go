// Package outbound leads the connections that a Pod opens: it is the network filter weft.mesh.v1.Outbound of package meshpb.
//
// It owns the way from where a connection went, and of requests the Host, to a route table or a cluster, by the index of the mesh: a Service by its
// address, a headless one by its endpoints, a workload by its own, anything else as it is. Where a Service does not say what is spoken it finds out
// without holding up either side. It carries nothing itself, makes no connections, and asks nobody but the index; what the index says takes mutual TLS
// is never spoken to in the clear.
package outbound
