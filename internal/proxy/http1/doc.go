// Package http1 reads and writes HTTP/1.0 and HTTP/1.1 messages as bytes (RFC 9110, RFC 9112), both ways, without allocating.
//
// It owns the syntax, the framing of bodies, and what concerns one connection only. It reads strictly: what two implementations could
// understand differently is an error, with the status that a client is to be told, and never a message. It is given the bytes that came, parses
// them in place, and never touches a connection; what a message means is not its business.
//
// The order of use is: a [Finder] says where a head ends, [ParseRequest] or [ParseResponse] make a message and its [Framing] of it, and if the
// body is chunked a [Chunks] finds the data in it. [AppendRequest], [AppendResponse], [AppendChunk] and [AppendTrailers] write.
package http1
