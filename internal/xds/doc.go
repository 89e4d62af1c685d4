// Package xds serves the edge's model to proxies: the resources of each fleet as remembered functions of the model, and a delta xDS server
// (Envoy's aggregated discovery service, incremental) that any v3 client may use.
//
// # What is served to whom
//
// A [Client] is who authentication says it is, never who it says it is: its fleet decides which listeners, routes and clusters it gets, and only the
// Secrets that those name. What a client sends of itself is shown on the status page and used for nothing.
//
// Listeners and clusters may be subscribed to by wildcard or by name; route configurations, endpoints and secrets by name only, and a wildcard there
// stands for nothing. The state-of-the-world variant of the protocol is not served.
//
// # Make before break
//
// Everything comes on one stream, where one response of each type is in flight at most. A stream takes in one revision of the model and brings the
// client there: clusters first; then, when their endpoints and secrets have been given again (Envoy warms a changed cluster anew and waits for
// them) and acknowledged, listeners; then routes; and when these are acknowledged, what nobody refers to any more is removed. Only then is the next revision
// taken in, which is the latest: a slow client misses what was overtaken, and costs nobody else anything. Endpoints and secrets wait for nobody.
//
// Versions are hashes of content, so a client that changes to another replica, or comes back, is sent what differs.
//
// A resource that a client rejects costs only itself: those of a rejected response are sent again in halves until the bad one stands alone.
//
// The package never decides what a resource says, which is package resource, nor what the edge does, which is package compose.
package xds
