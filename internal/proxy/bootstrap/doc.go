// Package bootstrap reads what the data plane starts with: Envoy's own bootstrap, as YAML or JSON, or the few facts that a proxy of weft's control
// plane is told on its command line.
//
// Of the bootstrap it takes node, static_resources (listeners, clusters, secrets), dynamic_resources with one aggregated stream (ads_config over
// a cluster of static_resources, or google_grpc) and admin. What else is in there (overload manager, watchdogs, layered runtime, stats sinks, ...)
// is ignored: it tunes a process that this is not. It opens nothing and connects to nothing.
package bootstrap
