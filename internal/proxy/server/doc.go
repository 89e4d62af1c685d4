// Package server turns xDS resources into what the data plane runs: listeners with their filter chains, route tables, clusters, endpoints, secrets.
//
// It owns which resources there are and what they need of each other, compiles each as it comes and refuses it with an error that names the field,
// opens a listener when what it needs is there, and puts the new in place of the old without closing a socket: connections keep the filter chain that
// they began with, and those whose chain is gone are asked to end. It does not fetch resources (package xdsclient), and knows nothing of what is
// inside a connection.
//
// In a sidecar what its index leads to is asked for when somebody first uses it, who waits for it then; see demand.go.
//
// Of a Listener it takes name, address, additional_addresses, filter_chains and default_filter_chain with http_connection_manager or
// tcp_proxy as the last filter, listener_filters (tls_inspector, which is always on where chains match by it, http_inspector, proxy_protocol, original_dst), listener_filters_timeout
// and continue_on_listener_filters_timeout. What tunes a socket, and traffic_direction and metadata, are without effect; udp_listener_config, api_listener,
// bind_to_port: false, internal_listener and connections by original destination are refused.
package server
