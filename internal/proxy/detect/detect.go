package detect

import (
	"errors"
	"io"
	"net"

	"github.com/weftmesh/weft/internal/proxy/tls"
)

// Question is what somebody wants to know of a connection.
type Question struct {
	TLS  bool // whether it is TLS, and what its ClientHello says
	HTTP bool // whether it is HTTP in the clear
}

// Answer is what was found out.
type Answer struct {
	// Read is what was read of the client, to be taken before what the connection gives.
	Read []byte
	// TLS says that the client begins with a ClientHello, and Hello what is in it. One that is broken is no TLS: whoever gets the connection says so.
	TLS   bool
	Hello tls.ClientHello
	// Protocol is HTTP10, HTTP11 or H2C, or "" if it is no HTTP in the clear.
	Protocol string
}

const (
	// firstBytes is how much is read at first; maxFirstBytes bounds a ClientHello of many records.
	firstBytes    = 4 << 10
	maxFirstBytes = 64 << 10
)

// ErrEndless is a beginning that has no end.
var ErrEndless = errors.New("detect: the ClientHello has no end")

// Read reads from a client until the question is answered, or the client says nothing more. The answer has what was read even if there is an error;
// a client that ends in the middle of its beginning has spoken neither TLS nor HTTP.
func Read(conn net.Conn, q Question) (a Answer, err error) {
	a.Read = make([]byte, 0, firstBytes)
	for {
		if len(a.Read) == cap(a.Read) {
			a.Read = append(make([]byte, 0, min(2*cap(a.Read), maxFirstBytes)), a.Read...)
		}
		n, err := conn.Read(a.Read[len(a.Read):cap(a.Read)])
		a.Read = a.Read[:len(a.Read)+n]
		if n > 0 && a.look(q) {
			return a, nil
		}
		switch {
		case errors.Is(err, io.EOF) && len(a.Read) > 0:
			return a, nil
		case err != nil:
			return a, err
		case len(a.Read) == maxFirstBytes:
			return a, ErrEndless
		}
	}
}

// look fills in what the bytes that were read say; it is false when more are needed.
func (a *Answer) look(q Question) bool {
	if q.TLS {
		hello, n, err := tls.ReadClientHello(a.Read)
		switch {
		case n > 0:
			a.Hello, a.TLS = hello, true
			return true
		case err == nil:
			return false
		}
	}
	if !q.HTTP {
		return true
	}
	var done bool
	if a.Protocol, done = httpOf(a.Read); !done {
		a.Protocol = ""
	}
	return done
}
