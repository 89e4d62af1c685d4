// Package redirect turns a Pod's TCP connections to the proxy that runs beside its application: with nftables, by netlink, in the network
// namespace that it is called in. Who is turned and who is not is Istio's (tools/istio-iptables), so that its annotations keep their meaning:
//
//	chain outbound (hook output)             chain inbound (hook prerouting)
//	  oif in ExcludeInterfaces     stays       iif in ExcludeInterfaces  stays
//	  port in ExcludeOutbound      stays       port 15008                stays
//	  lo, from 127.0.0.6 or ::6    stays       port in ExcludeInbound    stays
//	  lo, the proxy's, not for loopback  inbound port
//	  lo, anybody else's           stays       otherwise                 inbound port
//	  the proxy's                  stays
//	  for loopback, ExcludeRanges  stays
//	  OutboundPorts, OutboundRanges      outbound port
//
// So a Pod that calls its own Service leaves by the outbound port, and what the proxy then sends to the Pod's own address comes in by the
// inbound port, as if another Pod had called. What the proxy hands to the application has the source 127.0.0.6 or ::6 and is left alone. Only TCP
// is turned; names are still asked of whom resolv.conf names. The original destination of a connection is what SO_ORIGINAL_DST says.
//
// A connection that is made to the proxy's own two ports by their number would have the proxy for its original destination, and would go round and
// round. It is reset before anybody sees it.
//
// All of it is one table, inet weft-redirect, put in place in one transaction: however often that happens, the result is the same, and connections
// that are open go on. It needs NET_ADMIN and Linux 5.9.
//
// The package never touches another table, a route or a setting of the kernel. It does give loopback the address ::6, without which nobody
// could have it for a source.
package redirect
