package nftables

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// held is what the kernel holds of one of our tables.
type held struct {
	exists   bool
	dormant  bool // switched off, or otherwise flagged: not as we make it
	chains   map[string]heldChain
	sets     map[string][]byte // the description of each
	elements []element         // of all sets of the schema but affinity
}

type heldChain struct {
	hook  *hook
	plain bool // hooked as we do it: its policy is to accept
	rules []heldRule
}

type heldRule struct{ exprs, userdata []byte }

// read lists our tables, and names those of other schema versions.
func (b *Backend) read(ctx context.Context) (now [families]held, others [families][]string, err error) {
	for range 20 { // somebody may be busy changing other tables, which makes a listing start again
		now, others, err = b.readOnce(ctx)
		if !errors.Is(err, errInterrupted) {
			break
		}
	}
	return now, others, err
}

func (b *Backend) readOnce(ctx context.Context) (now [families]held, others [families][]string, err error) {
	for fam := range families {
		h := &now[fam]
		h.chains, h.sets = map[string]heldChain{}, map[string][]byte{}
		err := b.list(ctx, fam, unix.NFT_MSG_GETTABLE, nil, func(msg []byte) {
			switch name := text(child(msg, unix.NFTA_TABLE_NAME)); {
			case name == tableName:
				h.exists, h.dormant = true, number(child(msg, unix.NFTA_TABLE_FLAGS)) != 0
			case isOtherSchema(name):
				others[fam] = append(others[fam], name)
			}
		})
		if err == nil && h.exists {
			err = b.readTable(ctx, fam, h)
		}
		if err != nil {
			return now, others, fmt.Errorf("listing table %s %s: %w", fam, tableName, err)
		}
	}
	return now, others, nil
}

func (b *Backend) readTable(ctx context.Context, fam family, h *held) error {
	err := b.list(ctx, fam, unix.NFT_MSG_GETCHAIN, nil, func(msg []byte) {
		if text(child(msg, unix.NFTA_CHAIN_TABLE)) != tableName {
			return
		}
		c := heldChain{}
		if at := child(msg, unix.NFTA_CHAIN_HOOK); at != nil {
			c.hook = &hook{
				kind:     text(child(msg, unix.NFTA_CHAIN_TYPE)),
				number:   number(child(at, unix.NFTA_HOOK_HOOKNUM)),
				priority: int32(number(child(at, unix.NFTA_HOOK_PRIORITY))),
			}
			c.plain = number(child(msg, unix.NFTA_CHAIN_POLICY)) == verdictAccept
		}
		h.chains[text(child(msg, unix.NFTA_CHAIN_NAME))] = c
	})
	if err != nil {
		return err
	}
	err = b.list(ctx, fam, unix.NFT_MSG_GETRULE, func(w *wire) { w.string(unix.NFTA_RULE_TABLE, tableName) }, func(msg []byte) {
		if text(child(msg, unix.NFTA_RULE_TABLE)) != tableName {
			return
		}
		name := text(child(msg, unix.NFTA_RULE_CHAIN))
		c := h.chains[name]
		c.rules = append(c.rules, heldRule{
			bytes.Clone(child(msg, unix.NFTA_RULE_EXPRESSIONS)), bytes.Clone(child(msg, unix.NFTA_RULE_USERDATA)),
		})
		h.chains[name] = c
	})
	if err != nil {
		return err
	}
	err = b.list(ctx, fam, unix.NFT_MSG_GETSET, func(w *wire) { w.string(unix.NFTA_SET_TABLE, tableName) }, func(msg []byte) {
		if text(child(msg, unix.NFTA_SET_TABLE)) == tableName {
			h.sets[text(child(msg, unix.NFTA_SET_NAME))] = bytes.Clone(msg)
		}
	})
	if err != nil {
		return err
	}
	for set := range sets {
		if msg, ok := h.sets[set.String()]; !ok || !set.matches(msg, fam) || set == affinity {
			continue
		}
		malformed := false
		err := b.list(ctx, fam, unix.NFT_MSG_GETSETELEM, func(w *wire) {
			w.string(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
			w.string(unix.NFTA_SET_ELEM_LIST_SET, set.String())
		}, func(msg []byte) {
			each(child(msg, unix.NFTA_SET_ELEM_LIST_ELEMENTS), func(a attribute) {
				e, ok := decode(fam, set, a.data)
				malformed = malformed || !ok
				h.elements = append(h.elements, e)
			})
		})
		if err != nil {
			return err
		}
		if malformed {
			delete(h.sets, set.String()) // not one of ours, then
		}
	}
	return nil
}

// list asks for everything of a kind in a family. The message that f is given is valid during the call only.
func (b *Backend) list(ctx context.Context, fam family, kind uint16, which func(*wire), f func(msg []byte)) error {
	b.w.reset()
	m := b.w.message(kind, unix.NLM_F_DUMP, fam.protocol())
	if which != nil {
		which(&b.w)
	}
	b.w.end(m)
	return b.conn.request(ctx, b.w.b, func(_ uint16, msg []byte) { f(msg) })
}

// hooked tells whether a chain sits where it should.
func (h heldChain) hooked(want *hook) bool {
	if h.hook == nil || want == nil {
		return h.hook == nil && want == nil
	}
	return *h.hook == *want && h.plain
}

// filled tells whether a chain has these rules.
func (h heldChain) filled(want []rule) bool {
	if len(h.rules) != len(want) {
		return false
	}
	for i, r := range want {
		comment, _ := userdata.GetString(h.rules[i].userdata, userdata.TypeComment)
		if comment != r.comment || !sameExpressions(r.exprs, h.rules[i].exprs) {
			return false
		}
	}
	return true
}

// sameExpressions compares a rule as we write it with a rule as the kernel shows it.
func sameExpressions(wrote, shown []byte) bool {
	a, b := split(wrote), split(shown)
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		name := text(child(a[i].data, unix.NFTA_EXPR_NAME))
		if name != text(child(b[i].data, unix.NFTA_EXPR_NAME)) {
			return false
		}
		data := child(a[i].data, unix.NFTA_EXPR_DATA)
		if name == "nat" {
			// The kernel says by itself that the registers we give are an address and a port.
			w := wire{b: bytes.Clone(data)}
			const addressAndPort = 1 | unix.NF_NAT_RANGE_PROTO_SPECIFIED
			w.u32(unix.NFTA_NAT_FLAGS, addressAndPort)
			data = w.b
		}
		if !sameAttributes(data, child(b[i].data, unix.NFTA_EXPR_DATA)) {
			return false
		}
	}
	return true
}

// sameAttributes compares without regard to order; an attribute that is zero is the same as none.
func sameAttributes(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	as, bs := split(a), split(b)
	find := func(in []attribute, kind uint16) []byte {
		for _, x := range in {
			if x.kind == kind {
				return x.data
			}
		}
		return nil
	}
	same := func(from, to []attribute) bool {
		for _, x := range from {
			y := find(to, x.kind)
			if bytes.Equal(x.data, y) || y == nil && len(bytes.Trim(x.data, "\x00")) == 0 {
				continue
			}
			// What is nested has at least one attribute on both sides.
			if len(split(x.data)) == 0 || len(split(y)) == 0 || !sameAttributes(x.data, y) {
				return false
			}
		}
		return true
	}
	return len(as) > 0 && len(bs) > 0 && same(as, bs) && same(bs, as)
}

// split gives the attributes; nil if b is none.
func split(b []byte) (out []attribute) {
	if !each(b, func(a attribute) { out = append(out, a) }) {
		return nil
	}
	return out
}
