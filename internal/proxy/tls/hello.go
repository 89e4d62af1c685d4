package tls

import (
	"errors"
	"strings"
)

// ClientHello is what the first message of a TLS client says in the clear (RFC 8446 section 4.1.2).
type ClientHello struct {
	ServerName string   // in lower case; "" if the client names none
	Protocols  []string // ALPN, in the client's order
}

// Errors of ReadClientHello.
var (
	// ErrNotTLS: the bytes are no TLS handshake.
	ErrNotTLS = errors.New("tls: not TLS")
	// ErrClientHello: they begin as one, and break the protocol.
	ErrClientHello = errors.New("tls: malformed ClientHello")
)

// maxClientHello bounds the message. Those of today have 2 KB at most.
const maxClientHello = 16 << 10

// ReadClientHello reads a ClientHello from the first bytes of a connection, which stay as they are: n is how many belong to it, and 0 without an
// error means that more are needed. It checks as much as it reads; whoever does the handshake checks all.
func ReadClientHello(b []byte) (hello ClientHello, n int, err error) {
	var message []byte // of the records, without their heads
	for {
		record, whole, err := nextRecord(b[n:])
		if err != nil {
			return ClientHello{}, 0, err
		}
		if message == nil {
			message = record[:len(record):len(record)] // most often there is one record
		} else {
			message = append(message, record...)
		}
		n += recordHead + len(record)
		if done, err := hello.read(message); done || err != nil {
			if err != nil {
				n = 0
			}
			return hello, n, err
		}
		if !whole {
			return ClientHello{}, 0, nil
		}
	}
}

const recordHead = 5

// nextRecord gives what there is of the record that b begins with, and whether that is all of it.
func nextRecord(b []byte) (record []byte, whole bool, err error) {
	switch {
	case len(b) >= 1 && b[0] != 22, len(b) >= 2 && b[1] != 3: // handshake, of a version 3.x
		return nil, false, ErrNotTLS
	case len(b) < recordHead:
		return nil, false, nil
	}
	size := int(b[3])<<8 | int(b[4])
	if size == 0 || size > maxClientHello {
		return nil, false, ErrClientHello
	}
	b = b[recordHead:]
	return b[:min(size, len(b))], len(b) >= size, nil
}

// read reads the message, if it is all there.
func (h *ClientHello) read(b []byte) (done bool, err error) {
	if len(b) >= 1 && b[0] != 1 { // client_hello
		return false, ErrClientHello
	}
	if len(b) < 4 {
		return false, nil
	}
	size := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	switch b = b[4:]; {
	case size > maxClientHello:
		return false, ErrClientHello
	case len(b) < size:
		return false, nil
	case len(b) > size: // nothing follows it in its record
		return false, ErrClientHello
	}
	p := parser{b: b}
	p.skip(2 + 32) // version and random
	p.vector(1)    // session
	p.vector(2)    // cipher suites
	p.vector(1)    // compression
	if len(p.b) > 0 {
		extensions := p.sub(2)
		p.bad = p.bad || len(p.b) > 0
		h.extensions(&extensions)
		p.bad = p.bad || extensions.bad
	}
	if p.bad {
		*h = ClientHello{}
		return false, ErrClientHello
	}
	return true, nil
}

// Extensions (RFC 6066 section 3, RFC 7301 section 3.1).
const (
	extensionServerName = 0
	extensionALPN       = 16
)

func (h *ClientHello) extensions(p *parser) {
	var names, protocols bool
	for len(p.b) > 0 && !p.bad {
		kind := p.number(2)
		content := p.sub(2)
		switch {
		case kind == extensionServerName && !names:
			names = true
			h.serverName(&content)
		case kind == extensionALPN && !protocols:
			protocols = true
			h.alpn(&content)
		case kind == extensionServerName, kind == extensionALPN: // RFC 8446 section 4.2: one of a kind
			p.bad = true
		}
		p.bad = p.bad || content.bad
	}
}

func (h *ClientHello) serverName(p *parser) {
	list := p.sub(2)
	for len(list.b) > 0 && !list.bad {
		kind, name := list.number(1), list.vector(2)
		if kind != 0 {
			continue
		}
		if len(name) == 0 || h.ServerName != "" || strings.ContainsFunc(string(name), func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			list.bad = true
		}
		h.ServerName = strings.ToLower(string(name))
	}
	p.bad = p.bad || list.bad || len(p.b) > 0
}

func (h *ClientHello) alpn(p *parser) {
	list := p.sub(2)
	for len(list.b) > 0 && !list.bad {
		name := list.vector(1)
		list.bad = list.bad || len(name) == 0
		h.Protocols = append(h.Protocols, string(name))
	}
	p.bad = p.bad || list.bad || len(p.b) > 0
}

// parser takes bytes off b; once something was missing it is bad, and gives nothing.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) skip(n int) []byte {
	if p.bad || len(p.b) < n {
		p.bad, p.b = true, nil
		return nil
	}
	out := p.b[:n]
	p.b = p.b[n:]
	return out
}

// number takes an unsigned integer of so many bytes.
func (p *parser) number(size int) (n int) {
	for _, c := range p.skip(size) {
		n = n<<8 | int(c)
	}
	return n
}

// vector takes bytes with their length in front, in so many bytes.
func (p *parser) vector(size int) []byte { return p.skip(p.number(size)) }

func (p *parser) sub(size int) parser {
	b := p.vector(size)
	return parser{b: b, bad: p.bad}
}
