// Package transport carries HTTP/1.x over a net.Conn: a server that runs a handler for one exchange after the other, and a client that does one
// exchange at a time. It owns the buffers, all timeouts of a connection, and the way from one message to the next.
//
// It never dials, listens or speaks TLS, and it decides nothing about a message: what a request means is the handler's, who gets it the
// caller's. Fields such as date and server are not its business.
//
// A connection is served by the goroutine that calls Serve. While nothing is in flight it holds no buffer: one is taken from a pool when bytes
// are there to be read.
package transport
