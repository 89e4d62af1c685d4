package zone

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// pointer is one name of an address.
type pointer struct {
	endpoint bool   // the name of an endpoint, not of a Service with that address
	name     string // in wire form
	key      string // the Service it comes from: Records.key
}

func (p pointer) compare(q pointer) int {
	if p.endpoint != q.endpoint {
		if q.endpoint {
			return -1
		}
		return 1
	}
	return strings.Compare(p.name, q.name)
}

// pointed is an address with one of its names.
type pointed struct {
	address netip.Addr
	pointer
}

func (p pointed) compare(q pointed) int {
	return cmp.Or(p.address.Compare(q.address), p.pointer.compare(q.pointer))
}

// pointers gives what the records say about addresses, sorted. The specification has PTR for cluster IPs (2.3.3) and for endpoints with
// their hostname (2.4.3).
func (r *Records) pointers() []pointed {
	if r == nil {
		return nil
	}
	var ps []pointed
	if r.kind == model.VIP {
		for _, a := range r.addresses {
			ps = append(ps, pointed{a, pointer{name: r.name, key: r.key()}})
		}
	}
	for i := range r.hosts {
		h := &r.hosts[i]
		name := wireLabel(h.label) + r.name
		key := name[1+len(h.label):][:len(r.key())]
		for _, a := range h.addresses {
			ps = append(ps, pointed{a, pointer{endpoint: true, name: name, key: key}})
		}
	}
	slices.SortFunc(ps, pointed.compare)
	return ps
}

// repoint gives addresses the names that the new records have for them in place of those of the old. What both say is not touched.
func (z *Zone) repoint(old, new *Records) {
	was, is := old.pointers(), new.pointers()
	for len(was)+len(is) > 0 {
		c := 0
		switch {
		case len(was) == 0:
			c = 1
		case len(is) == 0:
			c = -1
		default:
			c = was[0].compare(is[0])
		}
		switch {
		case c < 0:
			z.unpoint(was[0])
			was = was[1:]
		case c > 0:
			z.point(is[0])
			is = is[1:]
		default:
			was, is = was[1:], is[1:]
		}
	}
}

func (z *Zone) point(p pointed) {
	ps, _ := z.ptrs.get(p.address)
	i, found := slices.BinarySearchFunc(ps, p.pointer, pointer.compare)
	if !found {
		z.ptrs.set(p.address, slices.Insert(slices.Clip(ps), i, p.pointer))
	}
}

func (z *Zone) unpoint(p pointed) {
	ps, _ := z.ptrs.get(p.address)
	ps = slices.DeleteFunc(slices.Clone(ps), func(q pointer) bool { return q.compare(p.pointer) == 0 })
	if len(ps) == 0 {
		z.ptrs.remove(p.address)
	} else {
		z.ptrs.set(p.address, ps)
	}
}
