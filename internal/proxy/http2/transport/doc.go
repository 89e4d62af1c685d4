// Package transport carries HTTP/2 over a net.Conn: a server that runs a handler for each stream, and a client that many exchanges share. It
// owns the goroutines, the lock around the state machine of package http2, the buffers, and all timeouts.
//
// It never dials, listens or speaks TLS, and it decides nothing about a message: what a request means is the handler's, who gets it the
// caller's.
//
// One goroutine reads a connection. Each stream of a server has one that runs the handler. Bytes to be sent are gathered under the lock; a
// goroutine that exists only while there are some writes them, after those that are ready to run had their turn, so that many small messages
// leave in one write. Nobody who reads ever waits for a write.
package transport
