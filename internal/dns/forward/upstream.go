package forward

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/internal/dns/wire"
)

// upstream is one resolver that is asked.
type upstream struct {
	addr netip.AddrPort
	name string

	failures atomic.Int32 // in a row
	looped   atomic.Bool  // what it is asked comes back to us

	asked, failed atomic.Uint64
}

// downAfter is how many failures in a row make a server one that is asked last.
const downAfter = 2

func (u *upstream) down() bool { return u.failures.Load() >= downAfter }

// question is what is asked of upstreams.
type question struct {
	name   string // in wire form
	typ    wire.Type
	do, cd bool
}

// exchange asks one server and gives its answer, which was checked to belong to the question. An answer cut short is fetched again by TCP;
// one that refuses EDNS, without.
func (u *upstream) exchange(ctx context.Context, c *Config, q question) (*dns.Msg, error) {
	u.asked.Add(1)
	ctx, cancel := context.WithTimeout(ctx, c.Attempt)
	defer cancel()
	m, err := u.over(ctx, "udp", c, q, true)
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
		m, err = u.over(ctx, "udp", c, q, false)
	}
	if err == nil && m.Truncated {
		m, err = u.over(ctx, "tcp", c, q, true)
	}
	if err != nil {
		u.failed.Add(1)
		u.failures.Add(1)
		return nil, fmt.Errorf("upstream %v: %w", u.addr, err)
	}
	u.failures.Store(0)
	return m, nil
}

// over asks once. Every question has a socket, and so a source port, of its own, and an identifier by chance: with the question itself
// these are what an answer has to match (RFC 5452).
func (u *upstream) over(ctx context.Context, network string, c *Config, q question, edns bool) (*dns.Msg, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, u.addr.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	out := make([]byte, 2, 2+wire.HeaderLen+wire.MaxName+4+11)
	out = q.pack(out, c.UDPSize, edns)
	binary.BigEndian.PutUint16(out, uint16(len(out)-2))
	if network == "udp" {
		if _, err := conn.Write(out[2:]); err != nil {
			return nil, err
		}
		return q.receive(conn, out[2:], int(c.UDPSize))
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	in := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, in); err != nil {
		return nil, err
	}
	return q.read(in, out[2:])
}

// receive waits for the datagram that answers; others are passed over.
func (q question) receive(conn net.Conn, sent []byte, size int) (*dns.Msg, error) {
	in := make([]byte, max(size, wire.PlainUDP)+1)
	for {
		n, err := conn.Read(in)
		if err != nil {
			return nil, err
		}
		m, err := q.read(in[:n], sent)
		if errors.Is(err, errNotOurs) {
			continue
		}
		return m, err
	}
}

var errNotOurs = errors.New("the answer is not to our question")

// read parses an answer and checks that it is one to what was sent.
func (q question) read(in, sent []byte) (*dns.Msg, error) {
	if len(in) < wire.HeaderLen || in[0] != sent[0] || in[1] != sent[1] || in[2]&0x80 == 0 {
		return nil, errNotOurs
	}
	m := new(dns.Msg)
	if err := m.Unpack(in); err != nil {
		if m.Truncated = in[2]&0x02 != 0; !m.Truncated {
			return nil, fmt.Errorf("malformed answer: %w", err)
		}
		return m, nil // cut in the middle of a record; TCP has it whole
	}
	if len(m.Question) == 0 && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		m.Question = []dns.Question{{Name: wire.Unpack(q.name), Qtype: q.typ, Qclass: dns.ClassINET}} // an error may come bare
	}
	if len(m.Question) != 1 || m.Question[0].Qtype != q.typ || m.Question[0].Qclass != dns.ClassINET {
		return nil, errNotOurs
	}
	if w, err := packName(m.Question[0].Name); err != nil || w != q.name {
		return nil, errNotOurs
	}
	return m, nil
}

// pack appends the question as a message.
func (q question) pack(b []byte, udpSize uint16, edns bool) []byte {
	var id [2]byte
	rand.Read(id[:]) // never fails
	flags := uint16(wire.FlagRD)
	if q.cd {
		flags |= wire.FlagCD
	}
	additional := uint16(0)
	if edns {
		additional = 1
	}
	b = append(b, id[:]...)
	for _, v := range [...]uint16{flags, 1, 0, 0, additional} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	b = append(b, q.name...)
	b = binary.BigEndian.AppendUint16(b, q.typ)
	b = binary.BigEndian.AppendUint16(b, wire.ClassIN)
	if edns {
		ttl := uint32(0)
		if q.do {
			ttl = 1 << 15
		}
		b = append(b, 0)
		b = binary.BigEndian.AppendUint16(b, wire.TypeOPT)
		b = binary.BigEndian.AppendUint16(b, udpSize)
		b = binary.BigEndian.AppendUint32(b, ttl)
		b = binary.BigEndian.AppendUint16(b, 0)
	}
	return b
}

// packName gives the wire form, in lower case, of a name as the library writes it (with escapes).
func packName(text string) (string, error) {
	var b [wire.MaxName + 1]byte
	n, err := dns.PackDomainName(strings.ToLower(text), b[:], 0, nil, false)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}
