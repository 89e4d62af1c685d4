package upstream

import (
	"errors"
	"fmt"
)

// What became of a request that did not reach an endpoint. Every error of [Cluster.Pick], [Endpoint.Start] and [Cluster.Dial] is one of these
// (errors.Is), or the error of the caller's context; the letters are Envoy's response flags.
var (
	// ErrNoHealthyUpstream (UH): there is no endpoint to send it to.
	ErrNoHealthyUpstream = errors.New("no healthy upstream")
	// ErrOverflow (UO): a circuit breaker is open.
	ErrOverflow = errors.New("upstream overflow")
	// ErrDropped (DO): the assignment's policy drops a part of the requests, and this is of that part.
	ErrDropped = errors.New("dropped by the load assignment's drop_overloads")
	// ErrConnect (UF): no connection to the endpoint came about.
	ErrConnect = errors.New("upstream connect error")
	// ErrConnectTimeout (UF): connecting took longer than the cluster's connect_timeout. It is an ErrConnect too.
	ErrConnectTimeout = fmt.Errorf("%w: connection timeout", ErrConnect)
	// ErrClosed: the set was closed.
	ErrClosed = errors.New("upstream: closed")
)
