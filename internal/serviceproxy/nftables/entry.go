package nftables

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// entry is a frontend as it is programmed.
type entry struct {
	frontend *plan.Frontend
	// The endpoints by slot. Where an endpoint stays, its slot stays, so that one that goes costs two elements however many there are.
	endpoints, local []netip.AddrPort
}

// newEntry places a frontend's endpoints into slots, given those they had before.
func newEntry(f *plan.Frontend, endpoints, local []netip.AddrPort) *entry {
	e := &entry{frontend: f, endpoints: arrange(endpoints, f.Endpoints)}
	if f.ExternalLocal {
		e.local = arrange(local, f.Local)
	}
	return e
}

// arrange gives the wanted endpoints in an order in which as many as possible keep the place they had. The result may be wanted itself.
func arrange(had, wanted []netip.AddrPort) []netip.AddrPort {
	if len(had) == 0 || slices.Equal(had, wanted) {
		return wanted
	}
	missing := make(map[netip.AddrPort]bool, len(wanted))
	for _, w := range wanted {
		missing[w] = true
	}
	out := make([]netip.AddrPort, len(wanted))
	for i, h := range had[:min(len(had), len(wanted))] {
		if missing[h] {
			out[i] = h
			delete(missing, h)
		}
	}
	next := 0
	for _, w := range wanted {
		if !missing[w] {
			continue
		}
		for out[next].IsValid() {
			next++
		}
		out[next] = w
	}
	return out
}

// balancers gives the chains that a frontend's audiences are sent to: everybody, and those outside if they are told apart. Zero is none.
func (e *entry) balancers() (all, outside balancer) {
	f := e.frontend
	b := balancer{family: familyOf(f.Family), nodePort: f.NodePort(), affinity: secondsOf(f.Affinity)}
	if len(e.endpoints) > 0 {
		all = b
		all.endpoints = len(e.endpoints)
	}
	if f.ExternalLocal && len(e.local) > 0 {
		outside = b
		outside.local, outside.endpoints = true, len(e.local)
	}
	return all, outside
}

// secondsOf rounds up, so that no affinity becomes none. Seconds are exact in the kernel, whatever its tick.
func secondsOf(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// elements appends the elements that belong to this frontend alone, in order. A nil entry has none.
func (e *entry) elements(out []element, name func(balancer) target) []element {
	if e == nil {
		return out
	}
	f := e.frontend
	start := len(out)
	x := expansion{fam: familyOf(f.Family), out: out}
	x.head, x.n = frontendBytes(f.Key)
	all, outside := e.balancers()
	rejects := false
	switch {
	case all.endpoints > 0:
		x.add(services).to = name(all)
		x.slots(endpoints, picks, e.endpoints, f.Affinity)
	case f.OnEmpty == plan.Drop:
		x.add(services).to = drop
	default:
		rejects = true
	}
	if f.ExternalLocal {
		switch {
		case outside.endpoints > 0:
			x.add(servicesLocal).to = name(outside)
			x.slots(endpointsLocal, picksLocal, e.local, f.Affinity)
		case f.OnEmptyLocal == plan.Drop:
			x.add(servicesLocal).to = drop
		default:
			x.add(servicesLocal).to = accept // leave it as it is, for the rejection to find
			rejects = true
		}
	}
	if rejects {
		x.add(refused)
	}
	if f.SourceRanges != nil {
		x.add(ranged)
		for _, p := range outermost(f.SourceRanges) {
			r := x.add(sources)
			first, last := bounds(p)
			copy(r.key[x.n:], first)
			copy(r.value[:], last)
		}
	}
	slices.SortFunc(x.out[start:], func(a, b element) int { return a.compare(&b) })
	return x.out
}

type expansion struct {
	fam  family
	head [maxKeyBytes]byte // the frontend
	n    int
	out  []element

	chosen map[uint32]bool
}

func (x *expansion) add(set setID) *element {
	x.out = append(x.out, element{place: place{family: x.fam, set: set, key: x.head}})
	return &x.out[len(x.out)-1]
}

func (x *expansion) slots(in, pick setID, all []netip.AddrPort, affinity time.Duration) {
	for i, ep := range all {
		s := x.add(in)
		binary.NativeEndian.PutUint32(s.key[x.n:], uint32(i))
		putEndpoint(s.value[:], ep)
		if affinity == 0 {
			continue
		}
		id := x.choice(pick, s.value)
		p := x.add(pick)
		binary.NativeEndian.PutUint32(p.key[x.n:], uint32(i))
		binary.NativeEndian.PutUint32(p.value[:], id)
		c := x.add(choices)
		binary.NativeEndian.PutUint32(c.key[x.n:], id)
		putEndpoint(c.value[:], ep)
	}
}

// choice names an endpoint. A client's affinity holds such a name, so that it leads nowhere as soon as the endpoint is gone, without anybody
// going through the affinities. It is a hash, so that the name of one that is gone is not soon given to another, not even after a restart.
func (x *expansion) choice(pick setID, endpoint [maxValueBytes]byte) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte{uint8(pick)})
	_, _ = h.Write(endpoint[:])
	id := h.Sum32()
	for x.chosen[id] {
		id++
	}
	if x.chosen == nil {
		x.chosen = map[uint32]bool{}
	}
	x.chosen[id] = true
	return id
}

// frontendBytes lays out frontendKey and gives its length.
func frontendBytes(k plan.Key) (b [maxKeyBytes]byte, n int) {
	n = familyOf(k.Family).addrBytes()
	if !k.NodePort() {
		copy(b[:], k.Addr.AsSlice())
	}
	b[n] = uint8(k.Protocol)
	binary.BigEndian.PutUint16(b[n+4:], k.Port)
	return b, n + 8
}

// share is an element that several frontends may need: hairpin of an endpoint's address, or a vip.
type share struct {
	set  setID
	addr netip.Addr
}

func (s share) element() element {
	fam := familyOf(plan.FamilyOf(s.addr))
	e := element{place: place{family: fam, set: s.set}}
	b := s.addr.AsSlice()
	copy(e.key[:], b)
	if s.set == hairpin {
		copy(e.key[len(b):], b)
	}
	return e
}

// shares calls f for each shared element the frontend needs, as often as it needs it.
func (e *entry) shares(f func(share)) {
	if e == nil {
		return
	}
	if e.frontend.Kind == plan.ClusterIP { // what else an external address is, and whose, is not ours to say
		f(share{vips, e.frontend.Addr})
	}
	for _, ep := range e.endpoints {
		f(share{hairpin, ep.Addr()})
	}
	for _, ep := range e.local {
		f(share{hairpin, ep.Addr()})
	}
}

// outermost drops prefixes that lie in others, because the kernel refuses ranges that overlap.
func outermost(all []netip.Prefix) (out []netip.Prefix) {
	for i, p := range all {
		p = p.Masked()
		covered := false
		for j, o := range all {
			o = o.Masked()
			if i != j && o.Contains(p.Addr()) && (o.Bits() < p.Bits() || o == p && j < i) {
				covered = true
				break
			}
		}
		if !covered {
			out = append(out, p)
		}
	}
	return out
}

// bounds gives the first and the last address of a prefix.
func bounds(p netip.Prefix) (first, last []byte) {
	first = p.Masked().Addr().AsSlice()
	last = bytes.Clone(first)
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	return first, last
}
