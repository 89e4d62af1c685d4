// Package http2 is HTTP/2 (RFC 9113) as a state machine: frames, streams, flow control, field blocks, and what is done about a peer that
// abuses them. It owns the state of one connection and the bytes to be sent; it is given the bytes that came and says what they mean.
//
// It never touches a connection, starts a goroutine or looks at a clock, and it is not safe for concurrent use: package transport puts it
// behind a net.Conn and a lock.
package http2
