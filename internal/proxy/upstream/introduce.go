package upstream

import (
	cryptotls "crypto/tls"
	"net"
	"sync/atomic"
)

// Introduction is a stream of which the connection's other end may come to know us.
type Introduction interface {
	// Introduced says that the other end keeps what it was told: requests on the connection do without PickContext.Introduce from now on. It is
	// called before the stream is closed.
	Introduced()
}

// introduction is what the other end of a connection knows of us.
type introduction struct {
	mesh  bool // it has a SPIFFE ID, so that it has a use for it
	known *atomic.Bool
}

func newIntroduction(nc net.Conn) introduction {
	c, ok := nc.(interface {
		ConnectionState() cryptotls.ConnectionState
	})
	if !ok || identityOf(c.ConnectionState()) == "" {
		return introduction{}
	}
	return introduction{true, new(atomic.Bool)}
}

// identityOf is the SPIFFE ID of a connection's other end; "" is none.
func identityOf(s cryptotls.ConnectionState) string {
	if len(s.PeerCertificates) == 0 {
		return ""
	}
	for _, u := range s.PeerCertificates[0].URIs {
		if u.Scheme == "spiffe" {
			return u.String()
		}
	}
	return ""
}

// begin adds what introduces us to a request's head, if that is needed, and gives how many fields it had.
func (i *introduction) begin(x *exchange) int {
	f := &x.req.Fields
	n := f.Len()
	if i.mesh && !i.known.Load() {
		for _, one := range x.pc.Introduce {
			f.Add(one.Name, one.Value)
		}
	}
	return n
}

// Introduced implements [Introduction].
func (x *exchange) Introduced() {
	switch {
	case x.on1 != nil && x.on1.intro.mesh:
		x.on1.intro.known.Store(true)
	case x.on2 != nil && x.on2.intro.mesh:
		x.on2.intro.known.Store(true)
	}
}
