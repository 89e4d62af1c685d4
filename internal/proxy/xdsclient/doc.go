// Package xdsclient fetches configuration from an xDS v3 server: one aggregated stream (ADS) in its delta form, on which only what changes is sent.
//
// It owns the protocol: subscriptions, versions, acknowledging and rejecting, connecting again, and the copy of the last good configuration that a restarted
// process begins with. It hands resources to a Handler and never looks inside one; what they mean, and which others they need, is the handler's to say.
//
// What is kept to:
//
//   - A resource that the handler refuses costs only itself. The others of the same response hold, and the rejection names those that were refused; of
//     them the version before stays in force.
//   - When the server is away, everything stays as it is. At reconnection it is told which versions we have, so it sends the difference.
//   - A name is asked for as long as somebody wants it: Subscribe and Unsubscribe count.
//   - Resources of listeners and clusters come as they are (a wildcard), others by name; in a sidecar it is the Services of the index that come as they are,
//     and everything else by name.
//
// Resources' time to live, aliases and xdstp names are not known here.
package xdsclient
