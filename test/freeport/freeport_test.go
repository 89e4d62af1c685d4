package freeport

import (
	"net"
	"testing"
)

// What is kept free is neither taken for others nor in the way of the server that it is for.
func TestHold(t *testing.T) {
	mine := Hold(t).String()
	if c, err := net.Dial("tcp", mine); err == nil {
		c.Close()
		t.Error("somebody answers")
	}
	for range 2 { // again after it has stopped
		l, err := net.Listen("tcp", mine)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", mine)
		if err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
		l.Close()
	}
	seen := map[string]bool{mine: true}
	for range 5000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		at := l.Addr().String()
		if seen[at] {
			t.Fatal(at, " is given twice")
		}
		seen[at] = true
	}
}
