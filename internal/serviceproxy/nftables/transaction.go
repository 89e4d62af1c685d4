package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// change is what a transaction does for one frontend.
type change struct {
	key      plan.Key
	old, now *entry // nil: none
	// With adopt set, old is not known to be in the kernel; del and add say what has to be done.
	adopt    bool
	del, add []element
}

// transaction is changes that belong together, and in Restore what has to be repaired beside them.
type transaction struct {
	prepare func(w *wire) // appends messages that come first
	finish  func(w *wire) // appends messages that come after the removal of elements
	remove  []element     // elements that are nobody's
	sweep   bool          // remove shared elements that nobody uses
	changes []change
}

// commit puts a transaction into force. If the kernel refuses it, it is cut in half and in half again until what is refused is found, and
// everything else is in force. It fails if the kernel's state is no longer known.
func (b *Backend) commit(ctx context.Context, t *transaction, res *plan.Result) error {
	n, err := b.try(ctx, t)
	if err == nil {
		res.Elements += n
		return nil
	}
	var refusal *kernelError
	tooLarge := errors.Is(err, errTooLarge)
	if !tooLarge && (!errors.As(err, &refusal) || errors.Is(err, unix.EPERM)) {
		return err
	}
	if drifted(err) {
		return fmt.Errorf("%w: %w", ErrDrift, err)
	}
	if t.prepare != nil || t.remove != nil || t.sweep {
		// First what is nobody's, alone; then the frontends, in halves; at last what nobody uses.
		if len(t.changes) == 0 {
			return err
		}
		if err := b.commit(ctx, &transaction{prepare: t.prepare, remove: t.remove, finish: t.finish}, res); err != nil {
			return err
		}
		if err := b.commit(ctx, &transaction{changes: t.changes}, res); err != nil {
			return err
		}
		if t.sweep {
			return b.commit(ctx, &transaction{sweep: true}, res)
		}
		return nil
	}
	if len(t.changes) <= 1 {
		for _, c := range t.changes {
			res.Refused = append(res.Refused, plan.Refuse{Key: c.key, Err: err})
		}
		return nil
	}
	half := len(t.changes) / 2
	if err := b.commit(ctx, &transaction{changes: t.changes[:half]}, res); err != nil {
		return err
	}
	return b.commit(ctx, &transaction{changes: t.changes[half:]}, res)
}

var errTooLarge = errors.New("transaction is too large")

// try sends a transaction as one, and remembers it if it came into force. It gives the number of elements added, changed or removed.
func (b *Backend) try(ctx context.Context, t *transaction) (int, error) {
	s := b.stage(t)
	if err := b.send(ctx, t, s); err != nil {
		b.forget(s)
		return 0, err
	}
	for _, c := range t.changes {
		if c.now == nil {
			delete(b.entries, c.key)
		} else {
			b.entries[c.key] = c.now
		}
	}
	b.settle(s)
	return s.places, nil
}

func (b *Backend) send(ctx context.Context, t *transaction, s *staged) error {
	w := &b.w
	w.reset()
	w.batchBegin()
	start := len(w.b)
	if t.prepare != nil {
		t.prepare(w)
	}
	chains := make([]chain, len(s.made))
	for i, bal := range s.made {
		chains[i] = bal.chain(b.cfg)
		if err := chains[i].err(); err != nil {
			return err
		}
		chains[i].create(w, bal.family)
	}
	for i, bal := range s.made {
		chains[i].fill(w, bal.family)
	}
	s.del.encode(w, true)
	if t.finish != nil {
		t.finish(w)
	}
	s.add.encode(w, false)
	if len(w.b) == start {
		return nil
	}
	if len(w.b) > maxTransactionBytes {
		return errTooLarge
	}
	last := w.acknowledgeLast(start)
	w.batchEnd()
	return b.conn.transact(ctx, w.b, last)
}

// maxListBytes bounds the elements of one message: the length of an attribute has sixteen bits.
const maxListBytes = 60 << 10

// perSet is elements by where they belong.
type perSet [families][sets][]element

func (p *perSet) put(e *element) { p[e.family][e.set] = append(p[e.family][e.set], *e) }

func (p *perSet) encode(w *wire, deleting bool) {
	for fam := range families {
		for set := range sets {
			encodeElements(w, fam, set, p[fam][set], deleting)
		}
	}
}

func encodeElements(w *wire, fam family, set setID, all []element, deleting bool) {
	kind, flags := uint16(unix.NFT_MSG_NEWSETELEM), uint16(unix.NLM_F_CREATE)
	if deleting {
		kind, flags = unix.NFT_MSG_DELSETELEM, 0
	}
	for len(all) > 0 {
		m := w.message(kind, flags, fam.protocol())
		w.string(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
		w.string(unix.NFTA_SET_ELEM_LIST_SET, set.String())
		list := w.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for len(all) > 0 && len(w.b)-list < maxListBytes {
			all[0].encode(w, deleting)
			all = all[1:]
		}
		w.close(list)
		w.end(m)
	}
}

// acknowledgeLast makes the last message ask for an acknowledgement and gives its sequence number.
func (w *wire) acknowledgeLast(start int) uint32 {
	at := start
	for next := at; next < len(w.b); next += int(binary.NativeEndian.Uint32(w.b[next:])) {
		at = next
	}
	flags := binary.NativeEndian.Uint16(w.b[at+6:]) | unix.NLM_F_ACK
	binary.NativeEndian.PutUint16(w.b[at+6:], flags)
	return binary.NativeEndian.Uint32(w.b[at+8:])
}
