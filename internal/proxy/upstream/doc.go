// Package upstream is the clusters of the data plane: which endpoints there are, which of them a request goes to, and over which connection.
//
// It owns clusters and their endpoints (xDS Cluster and ClusterLoadAssignment, DNS, original destinations), load balancing, the connection
// pools, circuit breakers, outlier detection and active health checks, and counts what they do. It never reads or changes a message but to
// choose a connection for it, never decides whether a request is tried again, and knows no route.
//
// # How it is used
//
// A [Set] holds clusters by name. A [Cluster] lives as long as its name does; updates change it in place, so a route may keep it. For a request
// the router calls [Cluster.Pick], then [Endpoint.Start] with the head, and [Endpoint.Done] with what came of it: once for each Start that gave
// a stream. [Cluster.Start] is Pick and Start in one. tcp_proxy calls [Cluster.Dial].
//
// # Updates
//
// What only tunes (timeouts, breakers, balancing, outlier detection) takes effect at once, and connections stay. A change of the transport
// socket, the protocol or the socket options gives each endpoint a new pool; the old one drains: its idle connections are closed, and those in
// use when their exchange is over. An endpoint is its address: as long as that is in the assignment, its health, its counters and its
// connections stay, whatever else is said of it.
//
// # A connection that the endpoint closed
//
// An endpoint may close an idle HTTP/1 connection at the moment that a request goes out on it. Before a connection that rested for more than a
// few milliseconds is used it is looked at; and if one that carried requests before ends with nothing of the response read, the exchange is
// begun again on a new connection to the same endpoint, once, and the caller does not see it. That is done for any method if the endpoint cannot
// have read the request: its kernel did not acknowledge it, or reset the connection, which is what it does when a connection is closed on bytes
// that nobody read. If the connection was ended in good order after the request was delivered, a server may have died of it, and only
// idempotent methods are sent again. The same goes for HTTP/2 streams that GOAWAY or REFUSED_STREAM sends back.
//
// For that the body's first 16 KiB are kept until the response begins; a longer one, once sent, cannot be begun again, and the caller gets the
// error. The request must stay as it was given to Start until ReadHead has returned.
//
// # Differences from Envoy
//
// Ring hash and maglev order the endpoints by their keys, so the table does not depend on the order in which they came. Ring hash always uses
// xxHash64 (hash_function MURMUR_HASH_2 is ignored). A retry that excludes hosts finds another one in its priority and locality if there is
// one, however many attempts were allowed. Least request with unequal weights draws two by weight and takes the one with fewer requests for its
// weight (active_request_bias: 0 means round robin, another value is as 1). A removed endpoint is drained at once, also where it is health
// checked.
//
// Ignored, because they only tune: per_connection_buffer_limit_bytes, max_connection_pools, preconnect_policy, update_merge_window,
// zone_aware_lb_config (there is no local cluster), override_host_status, track_cluster_stats, dns_resolution_config and its like (the resolver
// is the process's), retry_budget.budget_interval, happy_eyeballs_config (further addresses are tried in order), tlvs of the PROXY protocol.
package upstream
