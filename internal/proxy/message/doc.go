// Package message is an HTTP message as the data plane sees it, whatever version of HTTP carried it, and the two ends of an exchange: the
// stream that a client opened to us, and the one that we opened to an endpoint.
//
// It owns vocabulary only: it parses nothing, writes nothing and never touches a connection. The protocol packages implement its streams; the
// filters and the router use them, and know no protocol.
//
// Strings here are views of a connection's buffers. They are valid until the exchange is over, and whoever keeps one longer clones it
// (strings.Clone): the bytes behind it will be those of another message.
package message
