// Package detect finds out what a connection carries from the first bytes of its client: TLS and for which server, HTTP in the clear and which
// version, or something else.
//
// It owns how these begin and how much is read to tell them apart. It never answers, never chooses what becomes of a connection, and loses no
// byte: what it read is given to whoever serves the connection.
package detect
