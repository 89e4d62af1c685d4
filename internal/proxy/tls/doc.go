// Package tls compiles Envoy's TLS contexts and the Secrets they name (extensions/transport_sockets/tls/v3) to what crypto/tls runs with, and
// follows the Secrets as they change.
//
// It owns certificates, trust and session ticket keys, the choice of protocol and certificate in a handshake, and what a peer's certificate must
// be. It never dials, listens or reads from a connection, and it does not fetch Secrets: they are given to it. Keys are in no error and no log.
//
// The name is that of the field; a file that also needs the standard library's package imports that as cryptotls.
package tls
