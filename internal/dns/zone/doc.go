// Package zone owns what the cluster's names stand for: it turns a Service and its endpoints into [Records] as the Kubernetes DNS
// specification 1.1.0 has them, keeps those of the whole cluster in a [Zone], and answers questions from it.
//
// It never reads an object of Kubernetes, never opens a socket and never asks anybody: a name outside the cluster is not its business, and
// it says so. Readers take no lock; a change costs what it touches.
//
// Where the specification leaves room, the answers are those that CoreDNS gives with the Corefile of a Kubernetes cluster, because that is
// what users' programs have met:
//
//   - SRV for the name of a Service gives all its ports, the unnamed too.
//   - An endpoint without a hostname is named after its address: 10-1-2-3, fd00--7.
//   - SRV for a headless Service gives the endpoints' own ports.
//   - a-b-c-d.namespace.pod resolves to a.b.c.d for every namespace that exists, whether or not there is such a Pod.
//
// It differs in these: A for _port._proto names is NODATA; endpoints of a Service with a cluster IP have names only if they have a
// hostname, so that its endpoints may come and go without changing a name.
package zone
