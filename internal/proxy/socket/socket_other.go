//go:build !linux

package socket

import "net"

// Conn is what there is on Linux only.
type Conn struct{ net.Conn }

// Direct gives a connection as it is.
func Direct(nc net.Conn) net.Conn { return nc }

// NetConn is the connection that it was made of.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Hurry does nothing.
func (c *Conn) Hurry(bool) {}

// Gather does nothing.
func (c *Conn) Gather() {}

// Flush does nothing.
func (c *Conn) Flush() error { return nil }
