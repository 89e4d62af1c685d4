// Package announce makes one node the place on its network where a LoadBalancer address lives: it answers ARP and neighbour solicitations for
// the addresses it is given, and tells the network when it takes one over.
//
// It owns the frames ([RFC 826], [RFC 4861], [RFC 5227]), the packet sockets on the node's interfaces, and the rule by which nodes agree without
// talking who answers for an address ([Owner]). It never chooses addresses, never adds one to an interface, and never forwards: packets that
// arrive because of it are the Service proxy's.
//
// [RFC 826]: https://www.rfc-editor.org/rfc/rfc826
// [RFC 4861]: https://www.rfc-editor.org/rfc/rfc4861
// [RFC 5227]: https://www.rfc-editor.org/rfc/rfc5227
package announce
