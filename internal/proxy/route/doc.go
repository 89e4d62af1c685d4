// Package route decides where a request goes: it compiles Envoy's RouteConfiguration into a table that never changes, finds the virtual host and the
// route for a request, and carries out what the route says about the request itself (rewrites, header fields, redirects, direct responses).
//
// It owns matching and its order, the normal form of paths, the choice among weighted clusters and the hash for load balancing. It never connects to
// anything, knows no clusters beyond their names, no filters beyond their settings and no versions of HTTP. Finding a route and applying it allocates
// nothing, but for regular expressions that rewrite.
//
// A table with one wrong element is refused as a whole, with an error that names the element, since a table with a hole in it sends requests to where
// they should not go. So is one with a field that changes what is meant and that is not known here. Taken without effect, since they only tune or
// count: virtual_clusters, stat_prefix, tracing, hedge_policy, flush_timeout, early_data_policy, validate_clusters, metadata_match of no content, buffer limits,
// include_is_timeout_retry_header, retry_priority, rate_limited_retry_back_off, refresh_cluster_on_retry, trace_sampled, and operations on header fields that frame messages (connection,
// content-length, ...), which the codecs write. A runtime key cannot be changed at run time here: the default is the value.
package route
