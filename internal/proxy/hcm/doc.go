// Package hcm carries HTTP from a client to an endpoint: it is what Envoy calls the HTTP connection manager together with its router filter.
//
// It owns an exchange from its first byte to its line in the access log: what of a request's head is believed and what is stripped at the edge, the
// order of filters and route, attempts and the time they may take, the replies that we make ourselves, and what is counted. It never reads or writes
// bytes of a protocol (the transports do), never decides where a request goes (package route) or to which endpoint (package upstream), and opens no
// sockets.
//
// An exchange sees one route table, the one in force when it began; the next exchange of the connection sees the next. All that an exchange needs
// is taken from a pool and given back, so a plain request on a connection that is kept open allocates nothing.
//
// Of HttpConnectionManager, fields that only tune or observe and have no effect here are listed in config.go; fields that would change what
// happens to a request and that are not known are errors.
//
// # Differences from Envoy
//
// At an edge without trusted proxies in front (use_remote_address, xff_num_trusted_hops 0) all of x-forwarded-* that we do not say ourselves is
// removed, x-forwarded-host among it. More than 32 interim responses to one request are a failure of the endpoint.
//
// A request body is kept for further attempts up to 64 KiB (Envoy: per_request_buffer_limit_bytes, 1 MiB); beyond that there are none. Mirrored requests carry
// bodies up to 16 KiB whose length is known; others are not mirrored, and counted. An upgrade's tunnel ends when the endpoint closes its half.
package hcm
