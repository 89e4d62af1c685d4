// Package behaviour holds what every backend of the Service proxy must do to packets: one table of cases, run with real packets between network
// namespaces that the test makes for itself.
//
// A backend's own tests call [Run]. The world has a node that routes, a client Pod, three Pods that serve, and a machine outside the
// cluster that uses the node as its router, all with both IP families:
//
//	client  10.244.0.2 ──┐
//	web-1   10.244.0.11 ─┤ node, 10.244.0.1          outside, 192.0.2.10
//	web-2   10.244.0.12 ─┤       192.0.2.1 ───────── and 192.0.2.11
//	web-3   10.244.0.13 ─┘
//
// The package never touches the machine's own network, and knows nothing of how a backend works.
package behaviour
