package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// Lookup reads back what the kernel holds for a key, one element after the other, and gives it as lines like
// "table ip weft-v1 map services { 10.96.0.10 . udp . 53 : goto lb-2 }". There are none if the key is no frontend's. Affinities of
// clients are not listed.
func (b *Backend) Lookup(ctx context.Context, key plan.Key) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	fam := familyOf(key.Family)
	head, n := frontendBytes(key)
	at := func(set setID) element { return element{place: place{family: fam, set: set, key: head}} }
	get := func(e element) (element, bool, error) {
		got, ok, err := b.get(ctx, e)
		if ok {
			lines = append(lines, got.line())
		}
		return got, ok, err
	}
	for _, m := range [...]struct{ to, from setID }{{services, endpoints}, {servicesLocal, endpointsLocal}} {
		got, ok, err := get(at(m.to))
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		bal, _ := parseBalancer(fam, string(got.to))
		for i := range bal.endpoints {
			e := at(m.from)
			binary.NativeEndian.PutUint32(e.key[n:], uint32(i))
			if _, _, err := get(e); err != nil {
				return nil, err
			}
		}
	}
	for _, set := range [...]setID{refused, ranged} {
		_, ok, err := get(at(set))
		if err != nil {
			return nil, err
		}
		if old := b.entries[key]; ok && set == ranged && old != nil {
			for _, e := range old.elements(nil, b.nameOf) {
				if e.set == sources {
					if _, _, err := get(e); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	return lines, nil
}

func (b *Backend) nameOf(bal balancer) target { return target(bal.String()) }

// get reads one element.
func (b *Backend) get(ctx context.Context, want element) (got element, ok bool, err error) {
	w := &b.w
	w.reset()
	m := w.message(unix.NFT_MSG_GETSETELEM, 0, want.family.protocol())
	w.string(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
	w.string(unix.NFTA_SET_ELEM_LIST_SET, want.set.String())
	list := w.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	want.encode(w, true)
	w.close(list)
	w.end(m)
	err = b.conn.request(ctx, w.b, func(_ uint16, msg []byte) {
		each(child(msg, unix.NFTA_SET_ELEM_LIST_ELEMENTS), func(a attribute) {
			got, ok = decode(want.family, want.set, a.data)
		})
	})
	if errors.Is(err, unix.ENOENT) {
		return got, false, nil
	}
	if err != nil {
		return got, false, fmt.Errorf("%s: %w", want.line(), err)
	}
	return got, ok, nil
}

// Dump writes the plan in force for people to read: a line for each frontend with where it leads in the tables, and one for each endpoint.
func (b *Backend) Dump(out io.Writer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := make([]plan.Key, 0, len(b.entries))
	for k := range b.entries {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, plan.Key.Compare)
	var s strings.Builder
	fmt.Fprintf(&s, "# nftables: tables ip %[1]s and ip6 %[1]s, %[2]d frontends, %[3]d balancer chains\n", tableName, len(keys), len(b.balancers))
	var elements []element
	for _, k := range keys {
		e := b.entries[k]
		f := e.frontend
		fmt.Fprintf(&s, "\n# Service %s port %q, %s", f.Service, f.PortName, f.Kind)
		if f.Affinity != 0 {
			fmt.Fprintf(&s, ", affinity %s", f.Affinity)
		}
		s.WriteByte('\n')
		elements = e.elements(elements[:0], b.nameOf)
		slices.SortStableFunc(elements, func(a, b element) int { return int(dumpOrder[a.set]) - int(dumpOrder[b.set]) })
		for i := range elements {
			fmt.Fprintf(&s, "%s %s %s { %s }\n", elements[i].family, elements[i].set.word(), elements[i].set, &elements[i])
		}
		if s.Len() > 1<<16 {
			if _, err := io.WriteString(out, s.String()); err != nil {
				return err
			}
			s.Reset()
		}
	}
	_, err := io.WriteString(out, s.String())
	return err
}

// dumpOrder puts first what a packet meets first.
var dumpOrder = [sets]uint8{ranged: 0, sources: 1, services: 2, endpoints: 3, picks: 4, servicesLocal: 5, endpointsLocal: 6, picksLocal: 7, choices: 8, refused: 9}
