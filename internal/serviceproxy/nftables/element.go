package nftables

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/model"
)

const (
	maxKeyBytes   = 40 // sources of ip6
	maxValueBytes = 20 // an endpoint of ip6
)

// place is where an element is.
type place struct {
	family family
	set    setID
	key    [maxKeyBytes]byte
}

// element is one element of a set or map, as the kernel has it. What its set does not use is zero, so that elements can be compared.
type element struct {
	place
	value [maxValueBytes]byte // an endpoint, or a choice; for sources, the last address of the range
	to    target              // a verdict
}

// target is a verdict in nft's words: "drop", "accept", or the name of a chain to go to.
type target string

const (
	drop   target = "drop"
	accept target = "accept"
)

func (t target) String() string {
	if t == drop || t == accept {
		return string(t)
	}
	return "goto " + string(t)
}

func (e *element) compare(o *element) int {
	return cmp.Or(cmp.Compare(e.set, o.set), bytes.Compare(e.key[:], o.key[:]))
}

// putEndpoint lays out an endpointValue.
func putEndpoint(b []byte, ep netip.AddrPort) {
	if a := ep.Addr(); a.Is4() {
		v := a.As4()
		copy(b, v[:])
		binary.BigEndian.PutUint16(b[4:], ep.Port())
	} else {
		v := a.As16()
		copy(b, v[:])
		binary.BigEndian.PutUint16(b[16:], ep.Port())
	}
}

// encode appends the element as a list member. What is deleted is named by its key alone.
func (e *element) encode(w *wire, deleting bool) {
	d := e.set.def()
	n := e.set.keyBytes(e.family)
	item := w.nest(unix.NFTA_LIST_ELEM)
	key := w.nest(unix.NFTA_SET_ELEM_KEY)
	w.bytes(unix.NFTA_DATA_VALUE, e.key[:n])
	w.close(key)
	if d.flags&unix.NFT_SET_INTERVAL != 0 {
		last := e.key
		a := e.family.addrBytes()
		copy(last[n-a:], e.value[:a])
		key := w.nest(elemKeyEnd)
		w.bytes(unix.NFTA_DATA_VALUE, last[:n])
		w.close(key)
	}
	if !deleting {
		switch d.value {
		case endpointValue, choiceValue:
			data := w.nest(unix.NFTA_SET_ELEM_DATA)
			w.bytes(unix.NFTA_DATA_VALUE, e.value[:e.set.valueBytes(e.family)])
			w.close(data)
		case verdictValue:
			data := w.nest(unix.NFTA_SET_ELEM_DATA)
			v := w.nest(unix.NFTA_DATA_VERDICT)
			switch e.to {
			case drop:
				w.u32(unix.NFTA_VERDICT_CODE, verdictDrop)
			case accept:
				w.u32(unix.NFTA_VERDICT_CODE, verdictAccept)
			default:
				w.u32(unix.NFTA_VERDICT_CODE, verdictGoto)
				w.string(unix.NFTA_VERDICT_CHAIN, string(e.to))
			}
			w.close(v)
			w.close(data)
		}
	}
	w.close(item)
}

// Verdicts in messages.
const (
	verdictDrop   = 0
	verdictAccept = 1
	verdictGoto   = 0xfffffffc // NFT_GOTO, -4
)

// decode reads an element of a set from what the kernel sent (a member of NFTA_SET_ELEM_LIST_ELEMENTS).
func decode(fam family, set setID, b []byte) (e element, ok bool) {
	e.family, e.set = fam, set
	n := set.keyBytes(fam)
	key := child(child(b, unix.NFTA_SET_ELEM_KEY), unix.NFTA_DATA_VALUE)
	if len(key) != n {
		return e, false
	}
	copy(e.key[:], key)
	d := set.def()
	if d.flags&unix.NFT_SET_INTERVAL != 0 {
		last := child(child(b, elemKeyEnd), unix.NFTA_DATA_VALUE)
		a := fam.addrBytes()
		if last == nil { // a range of one
			last = key
		}
		if len(last) != n {
			return e, false
		}
		copy(e.value[:], last[n-a:])
	}
	data := child(b, unix.NFTA_SET_ELEM_DATA)
	switch d.value {
	case endpointValue, choiceValue:
		v := child(data, unix.NFTA_DATA_VALUE)
		if len(v) != set.valueBytes(fam) {
			return e, false
		}
		copy(e.value[:], v)
	case verdictValue:
		v := child(data, unix.NFTA_DATA_VERDICT)
		switch code := number(child(v, unix.NFTA_VERDICT_CODE)); code {
		case verdictDrop:
			e.to = drop
		case verdictAccept:
			e.to = accept
		case verdictGoto:
			e.to = target(text(child(v, unix.NFTA_VERDICT_CHAIN)))
		default:
			e.to = target(fmt.Sprintf("verdict %#x", code))
		}
	}
	return e, true
}

// slotOf reads an element of endpoints or endpoints-local: the frontend's part of the key, the slot, the endpoint.
func (e *element) slotOf() (frontend [maxKeyBytes]byte, slot uint32, ep netip.AddrPort) {
	n := e.family.addrBytes() + 8
	copy(frontend[:], e.key[:n])
	return frontend, binary.NativeEndian.Uint32(e.key[n:]), endpointOf(e.family, e.value[:])
}

func endpointOf(fam family, b []byte) netip.AddrPort {
	n := fam.addrBytes()
	a, _ := netip.AddrFromSlice(b[:n])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[n:]))
}

// String writes the element as nft does: "10.96.0.10 . udp . 53 : goto lb-2".
func (e *element) String() string {
	s := concat(e.family, e.set.def().key, e.key[:])
	if e.set == sources {
		s += "-" + addr.format(e.family, e.value[:])
	}
	switch e.set.def().value {
	case endpointValue, choiceValue:
		s += " : " + concat(e.family, valueFields[e.set.def().value], e.value[:])
	case verdictValue:
		s += " : " + e.to.String()
	}
	return s
}

func concat(fam family, fields []field, b []byte) string {
	var parts []string
	for _, f := range fields {
		parts = append(parts, f.format(fam, b))
		b = b[(f.bytes(fam)+3)&^3:]
	}
	return strings.Join(parts, " . ")
}

func (f field) format(fam family, b []byte) string {
	switch f {
	case addr:
		a, _ := netip.AddrFromSlice(b[:fam.addrBytes()])
		return a.String()
	case proto:
		return strings.ToLower(model.Protocol(b[0]).String())
	case port:
		return fmt.Sprint(binary.BigEndian.Uint16(b))
	case choice:
		return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(b)) // as nft shows it
	}
	return fmt.Sprint(binary.NativeEndian.Uint32(b))
}

// line writes the element with the place where it is.
func (e *element) line() string {
	return fmt.Sprintf("table %s %s %s %s { %s }", e.family, tableName, e.set.word(), e.set, e)
}
