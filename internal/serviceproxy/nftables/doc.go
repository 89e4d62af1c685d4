// Package nftables carries Services with nftables. It owns the tables named "weft-v<schema>" of the families ip and ip6: their shape, the
// translation of a plan into elements of their maps, and the netlink transactions that keep the kernel equal to the plan.
//
// The shape is flat: there are no rules per Service. One lookup of what a client dials
//
//	ip daddr . meta l4proto . th dport vmap @services
//
// leads to a chain that exists once per number of endpoints, and that picks one of them:
//
//	chain lb-3 {
//		jump mark-outside
//		dnat to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints
//		dnat to ip daddr . meta l4proto . th dport . numgen random mod 1 map @endpoints
//	}
//
// so a packet costs the same with ten Services and with ten thousand, and so does a change, which is a few map elements. A node port is the
// address zero in the same maps. Services whose external traffic stays on the node have a second entry in maps ending in "-local", which only
// packets from outside consult.
//
// With affinity, packets themselves write which endpoint a client got into the map affinity: not its address but a name for it, which the
// map choices turns into an address as long as the endpoint is the frontend's. So an endpoint that goes takes its affinities with it, and
// nobody ever lists them.
//
// A transaction is atomic: packets see all of it or nothing. The second dnat above is for the packet that is between the two lookups when
// the number of endpoints shrinks; slot 0 is taken as long as there is an endpoint at all.
//
// What has no endpoint stays untranslated, and is rejected in a filter hook right after translation, before routing, so that neither a
// missing route nor the forward policy of the host delays the answer. Only packets that open a connection are looked at; what is established
// is conntrack's, and survives whatever happens to its Service.
//
// Packets that conntrack calls invalid (typically outside the TCP window) are not translated back, and would reach a client with the
// endpoint's own address, which makes the client reset the connection. Those are dropped when forwarded, but, unlike kube-proxy's rule for the
// same purpose, only if they come from an endpoint's address: asymmetric routes of anything else are none of our business.
//
// It needs Linux 5.10. Traffic of the node itself to a virtual address needs some route to it, a default route say, because the kernel looks
// for one before it asks us.
//
// The package never reads a plan's Services, never lists the kernel to make a change, and never touches other tables, except those of its
// own other schema versions.
package nftables
