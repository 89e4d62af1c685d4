package forward

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/internal/dns/wire"
)

// answer is an upstream's answer in a form that can be given again: the message without its OPT record, and the places of its TTLs. Its
// compression pointers hold in every answer to the same question, because names of equal spelling have equal lengths. It is immutable.
type answer struct {
	packed   []byte
	question int // where the question ends
	records  []wire.Record
	code     wire.Code
	flags    uint16 // FlagAD if the upstream vouches for it

	stored time.Duration // on the Forwarder's clock
	life   time.Duration // from then on; 0 is not to be kept
}

// staleTTL is what an expired answer says of itself, in seconds (RFC 8767 section 4).
const staleTTL = 30

// newAnswer makes an answer of a message that was checked to belong to the question.
func newAnswer(m *dns.Msg, now time.Duration, c *Config) (*answer, error) {
	a := &answer{code: wire.Code(m.Rcode), stored: now}
	if m.Rcode > 15 { // says something about EDNS between us and the upstream, which is not the asker's business
		a.code = wire.ServFail
	}
	if m.AuthenticatedData {
		a.flags = wire.FlagAD
	}
	extra := m.Extra[:0]
	for _, rr := range m.Extra {
		switch rr.Header().Rrtype {
		case dns.TypeOPT, dns.TypeTSIG, dns.TypeSIG: // between two servers, not for ours
		default:
			extra = append(extra, rr)
		}
	}
	m.Extra, m.Compress, m.Rcode = extra, true, m.Rcode&15
	var err error
	if a.packed, err = m.Pack(); err != nil {
		return nil, err
	}
	var ok bool
	if a.records, a.question, ok = wire.Records(a.packed); !ok {
		return nil, errors.New("malformed")
	}
	a.life = lifetime(m, a.code, c)
	return a, nil
}

// lifetime is how long an answer may be kept.
func lifetime(m *dns.Msg, code wire.Code, c *Config) time.Duration {
	switch {
	case code == wire.Success && len(m.Answer) > 0 && !negative(m):
		life := c.MaxTTL
		for _, rr := range m.Answer {
			life = min(life, seconds(rr.Header().Ttl))
		}
		return life
	case code == wire.Success || code == wire.NXDomain:
		// RFC 2308 section 5: the lesser of the SOA's TTL and its minimum; without an SOA it is not to be kept.
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				life := min(c.MaxNegativeTTL, seconds(soa.Hdr.Ttl), seconds(soa.Minttl))
				for _, rr := range m.Answer {
					life = min(life, seconds(rr.Header().Ttl))
				}
				return life
			}
		}
	}
	return 0
}

// negative tells whether an answer holds nothing but aliases: the name at their end has no records of the type.
func negative(m *dns.Msg) bool {
	if t := m.Question[0].Qtype; t == dns.TypeCNAME || t == dns.TypeANY {
		return false
	}
	for _, rr := range m.Answer {
		switch rr.Header().Rrtype {
		case dns.TypeCNAME, dns.TypeDNAME, dns.TypeRRSIG:
		default:
			return false
		}
	}
	return true
}

func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 { // RFC 2181 section 8
		ttl = 0
	}
	return time.Duration(ttl) * time.Second
}

// failure is the answer when nobody could be asked; it is kept for a moment so that a storm of questions does not become one of timeouts.
func failure(now time.Duration) *answer {
	return &answer{code: wire.ServFail, stored: now, life: time.Second}
}

// write gives the answer to q in buf.
func (a *answer) write(q *wire.Query, m *wire.Message, buf []byte, limit int, offer uint16, now time.Duration) []byte {
	if !m.Begin(buf, limit, q, offer) {
		return nil
	}
	flags := uint16(wire.FlagRA)
	if a.packed != nil {
		end, counts, cut := a.fit(m.Room())
		m.Embed(a.packed[a.question:end], counts, cut)
		a.age(m.Tail(0), end, now)
		if q.DO || q.Flags&wire.FlagAD != 0 { // RFC 6840 section 5.8
			flags |= a.flags
		}
	}
	return m.End(a.code, flags)
}

// fit gives how far the message goes if its records may take that room, how many of each section that are, and whether any that matter are
// missing.
func (a *answer) fit(room int) (end int, counts [3]uint16, cut bool) {
	end = a.question
	for i := range a.records {
		r := &a.records[i]
		if r.End-a.question > room {
			return end, counts, r.Section != wire.AdditionalSection
		}
		end = r.End
		counts[r.Section]++
	}
	return end, counts, false
}

// age lowers the TTLs in b, up to end, by the time the answer was kept.
func (a *answer) age(b []byte, end int, now time.Duration) {
	kept := uint32(max(0, now-a.stored) / time.Second)
	stale := now > a.stored+a.life && a.life > 0
	for i := range a.records {
		r := &a.records[i]
		if r.End > end {
			return
		}
		ttl := binary.BigEndian.Uint32(b[r.TTL:])
		switch {
		case stale:
			ttl = staleTTL
		case ttl > kept:
			ttl -= kept
		default:
			ttl = 0
		}
		binary.BigEndian.PutUint32(b[r.TTL:], ttl)
	}
}
