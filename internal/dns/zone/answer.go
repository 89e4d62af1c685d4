package zone

import (
	"math/rand/v2"

	"github.com/weftmesh/weft/internal/dns/wire"
)

// Schema is the version of the Kubernetes DNS specification that the zone follows.
const Schema = "1.1.0"

// schemaTTL is that of the schema version, in seconds: it changes with the program.
const schemaTTL = 28800

// weight is that of all SRV records: no target is better than another, so only the sum matters.
const weight = 100

// maxAliases bounds how many aliases of the zone are followed for one question.
const maxAliases = 8

// Result is what became of a question.
type Result struct {
	// Ours is false if the name is not of this zone: nothing was written.
	Ours bool

	// Reverse is true if the name was of a reverse zone.
	Reverse bool

	// Code is the response code.
	Code wire.Code

	// Chase is the name, in wire form, that an alias led to outside the zone. The alias is written; the records of the name it stands for
	// are to be added by somebody who can ask for them. "" if there is nothing to add.
	Chase string
}

// Answer writes the answer to q into m, which was begun with q. Addresses of a set are turned by chance, so that askers who take the first
// spread over all of them.
func (z *Zone) Answer(q *wire.Query, m *wire.Message) Result {
	f := z.find(&q.Name)
	if f.node == outside {
		return Result{}
	}
	if f.alias() {
		return z.follow(q.Type, m, &f)
	}
	return Result{Ours: true, Reverse: f.reverse, Code: z.finish(q.Type, m, wire.QuestionName, &q.Name, &f)}
}

// alias tells whether the name stands for another.
func (f *found) alias() bool { return f.node == serviceNode && f.records.alias != "" }

// follow writes an alias, and the aliases it leads to, and the answer at their end as far as it is in this zone (RFC 1034 section 4.3.2, 3a).
func (z *Zone) follow(t wire.Type, m *wire.Message, f *found) Result {
	res := Result{Ours: true}
	var name wire.Name
	owner := wire.QuestionName
	for range maxAliases {
		alias := f.records.alias
		owner = m.Named(owner, wire.TypeCNAME, z.ttl, alias)
		if owner == 0 || t == wire.TypeCNAME || t == wire.TypeANY || name.SetWire(alias) != nil {
			return res
		}
		next := z.find(&name)
		if next.node == outside || next.reverse {
			res.Chase = alias
			return res
		}
		if !next.alias() {
			res.Code = z.finish(t, m, owner, &name, &next) // RFC 6604: the code is that of the last name
			return res
		}
		*f = next
	}
	return res
}

// finish writes what a name has of a type, or that it has nothing, and gives the code. owner is where the name is in the message.
func (z *Zone) finish(t wire.Type, m *wire.Message, owner int, name *wire.Name, f *found) wire.Code {
	if !z.write(m, owner, t, f) && !m.Truncated() {
		// The SOA lets the asker remember that there is nothing (RFC 2308 section 3).
		m.Section(wire.AuthoritySection)
		m.SOA(owner+name.Offset(f.level), z.ttl, z.soa.Load())
	}
	if f.node == nothing {
		return wire.NXDomain
	}
	return wire.Success
}

// write writes the records of a type that a name has, and tells whether there are any.
func (z *Zone) write(m *wire.Message, owner int, t wire.Type, f *found) bool {
	if t == wire.TypeANY && f.node != nothing && f.node != between {
		return m.Strings(owner, wire.TypeHINFO, z.ttl, "RFC8482", "")
	}
	switch f.node {
	case apex:
		switch t {
		case wire.TypeSOA:
			return m.SOA(owner, z.ttl, z.soa.Load())
		case wire.TypeNS:
			return m.Named(owner, wire.TypeNS, z.ttl, z.soa.Load().Nameserver) != 0
		}
	case versionNode:
		return t == wire.TypeTXT && m.Strings(owner, wire.TypeTXT, schemaTTL, Schema)
	case nameserver:
		return f.records != nil && z.writeAddresses(m, owner, f.records.addresses.of(t))
	case podNode:
		return (t == wire.TypeA && f.address.Is4() || t == wire.TypeAAAA && f.address.Is6()) && m.Address(owner, z.ttl, f.address)
	case serviceNode:
		if t == wire.TypeSRV {
			return z.writePorts(m, owner, f.records, f.records.ports)
		}
		return z.writeAddresses(m, owner, f.records.addresses.of(t))
	case endpointNode:
		return z.writeAddresses(m, owner, f.records.hosts[f.index].addresses.of(t))
	case portNode:
		return t == wire.TypeSRV && z.writePorts(m, owner, f.records, f.records.ports[f.index:f.index+1])
	case reverseNode:
		if t == wire.TypePTR {
			return z.writePointers(m, owner, f.pointers)
		}
	}
	return false
}

// writeAddresses writes a set of addresses from a place taken by chance.
func (z *Zone) writeAddresses(m *wire.Message, owner int, as addresses) bool {
	n := len(as)
	if n == 0 {
		return false
	}
	at := 0
	if n > 1 {
		at = rand.IntN(n)
	}
	for range n {
		if !m.Address(owner, z.ttl, as[at]) {
			break
		}
		if at++; at == n {
			at = 0
		}
	}
	return true
}

// writePorts writes SRV records and, as additional ones, the addresses of their targets as far as there is room.
func (z *Zone) writePorts(m *wire.Message, owner int, r *Records, ports []port) bool {
	type written struct {
		at   int
		host int32
	}
	var buf [32]written
	hosts := buf[:0]
	for i := range ports {
		ts := ports[i].targets
		at := 0
		if len(ts) > 1 {
			at = rand.IntN(len(ts))
		}
		for range ts {
			t := ts[at]
			if at++; at == len(ts) {
				at = 0
			}
			label := ""
			if t.host >= 0 {
				label = r.hosts[t.host].label
			}
			o := m.SRV(owner, z.ttl, 0, weight, t.number, label, r.name)
			if o == 0 {
				return true
			}
			known := false
			for _, h := range hosts {
				known = known || h.host == t.host
			}
			if !known && len(hosts) < cap(hosts) {
				hosts = append(hosts, written{o, t.host})
			}
		}
	}
	m.Section(wire.AdditionalSection)
	for _, h := range hosts {
		as := r.addresses
		if h.host >= 0 {
			as = r.hosts[h.host].addresses
		}
		for _, a := range as {
			if !m.Address(h.at, z.ttl, a) {
				return true
			}
		}
	}
	return len(ports) > 0
}

// writePointers writes the names of an address: the Service if it is a cluster IP, otherwise all its endpoints' names.
func (z *Zone) writePointers(m *wire.Message, owner int, ps []pointer) bool {
	for i, p := range ps {
		if i > 0 && p.endpoint != ps[0].endpoint {
			break
		}
		if m.Named(owner, wire.TypePTR, z.ttl, p.name) == 0 {
			break
		}
	}
	return true
}
