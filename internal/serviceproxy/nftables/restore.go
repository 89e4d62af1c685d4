package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// Restore makes the kernel carry exactly these frontends. It lists our tables, takes over what is right, and sends what is not; if nothing
// is wrong it sends nothing. A table whose sets or hooks are not ours is replaced, in the same transaction as everything else; conntrack keeps
// established connections going, only affinities are forgotten.
func (b *Backend) Restore(ctx context.Context, frontends []*plan.Frontend) (plan.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var res plan.Result
	var err error
	for attempt := range 4 {
		res = plan.Result{}
		// Whoever changes our tables while we do gets another go; whatever cannot be repaired piece by piece is replaced.
		err = b.restore(ctx, frontends, attempt >= 2, &res)
		var refusal *kernelError
		if err == nil || !errors.As(err, &refusal) || errors.Is(err, unix.EPERM) {
			break
		}
	}
	if err != nil {
		return res, fmt.Errorf("restore: %w", err)
	}
	return res, nil
}

func (b *Backend) restore(ctx context.Context, frontends []*plan.Frontend, replace bool, res *plan.Result) error {
	now, others, err := b.read(ctx)
	if err != nil {
		return err
	}
	b.entries = make(map[plan.Key]*entry, len(frontends))
	b.balancers = map[balancer]target{}
	b.shares = map[share]*shareState{}

	var repairs [families]repair
	there := map[place]element{}
	for fam := range families {
		repairs[fam] = b.compare(fam, &now[fam], others[fam], replace)
		if !repairs[fam].replace {
			for _, bal := range repairs[fam].balancers {
				b.balancers[bal] = target(bal.String())
			}
			for _, e := range now[fam].elements {
				there[e.place] = e
			}
		}
	}
	t := &transaction{
		sweep: true,
		prepare: func(w *wire) {
			for fam := range families {
				repairs[fam].prepare(w, fam)
			}
		},
		finish: func(w *wire) {
			for fam := range families {
				repairs[fam].finish(w, fam)
			}
		},
	}
	b.takeOver(frontends, there, t, res)
	return b.commit(ctx, t, res)
}

// takeOver fills a transaction with what separates the elements that are there from those that the frontends want.
func (b *Backend) takeOver(frontends []*plan.Frontend, there map[place]element, t *transaction, res *plan.Result) {
	hadSlots := map[slotsOf][]netip.AddrPort{}
	for p, e := range there {
		switch p.set {
		case hairpin, vips:
			// Shared elements are counted, not compared.
			a, _ := netip.AddrFromSlice(p.key[:p.family.addrBytes()])
			if s := (share{p.set, a}); s.element() == e {
				b.shares[s] = &shareState{share: s, present: true}
				delete(there, p)
			}
		case endpoints, endpointsLocal:
			frontend, slot, ep := e.slotOf()
			k := slotsOf{p.family, p.set, frontend}
			if slot < 1<<16 {
				for uint32(len(hadSlots[k])) <= slot {
					hadSlots[k] = append(hadSlots[k], netip.AddrPort{})
				}
				hadSlots[k][slot] = ep
			}
		}
	}
	names := map[balancer]target{}
	name := func(bal balancer) target {
		n, ok := names[bal]
		if !ok {
			n = target(bal.String())
			names[bal] = n
		}
		return n
	}
	seen := make(map[plan.Key]bool, len(frontends))
	t.changes = make([]change, 0, len(frontends))
	var scratch []element
	for _, f := range frontends {
		err := check(f)
		if err == nil && seen[f.Key] {
			err = errors.New("there is another frontend with this address and port")
		}
		if err != nil {
			res.Refused = append(res.Refused, plan.Refuse{Key: f.Key, Err: err})
			continue
		}
		seen[f.Key] = true
		head, _ := frontendBytes(f.Key)
		fam := familyOf(f.Family)
		c := change{key: f.Key, adopt: true}
		c.now = newEntry(f, hadSlots[slotsOf{fam, endpoints, head}], hadSlots[slotsOf{fam, endpointsLocal, head}])
		scratch = c.now.elements(scratch[:0], name)
		for _, e := range scratch {
			was, ok := there[e.place]
			if ok {
				delete(there, e.place)
				if was == e {
					continue
				}
				c.del = append(c.del, was)
			}
			c.add = append(c.add, e)
		}
		t.changes = append(t.changes, c)
	}
	for _, e := range there {
		t.remove = append(t.remove, e)
	}
}

// slotsOf is one list of endpoints in the kernel.
type slotsOf struct {
	family   family
	set      setID
	frontend [maxKeyBytes]byte
}

// repair is what has to be done to a table beside its elements.
type repair struct {
	exists    bool
	replace   bool       // make the table anew
	others    []string   // tables of other schemas
	create    []chain    // chains that are not there
	refill    []chain    // chains whose rules are not right, or who are new
	chains    []string   // chains that are nobody's
	sets      []string   // sets that are nobody's
	balancers []balancer // those that are, or will be, right
}

func (b *Backend) compare(fam family, h *held, others []string, replace bool) repair {
	r := repair{exists: h.exists, others: others, replace: replace || !h.exists || h.dormant}
	wanted := map[string]bool{}
	for set := range sets {
		wanted[set.String()] = true
		msg, ok := h.sets[set.String()]
		r.replace = r.replace || !ok || !set.matches(msg, fam)
	}
	for name := range h.sets {
		if !wanted[name] {
			r.sets = append(r.sets, name)
		}
	}
	want := map[string]chain{}
	var order []string
	for _, c := range skeleton(fam, b.cfg) {
		want[c.name], order = c, append(order, c.name)
	}
	for name := range h.chains {
		bal, ok := parseBalancer(fam, name)
		switch {
		case ok:
			want[name], order = bal.chain(b.cfg), append(order, name)
			r.balancers = append(r.balancers, bal)
		case want[name].name == "":
			r.chains = append(r.chains, name)
		}
	}
	for _, name := range order {
		c := want[name]
		is, ok := h.chains[name]
		if ok && !is.hooked(c.hook) {
			r.replace = true
		}
		if !ok {
			r.create = append(r.create, c)
		}
		if !ok || !is.filled(c.rules) {
			r.refill = append(r.refill, c)
		}
	}
	if r.replace {
		r.create = skeleton(fam, b.cfg)
		r.refill, r.chains, r.sets, r.balancers = r.create, nil, nil, nil
	}
	return r
}

func (r *repair) prepare(w *wire, fam family) {
	table := func(kind uint16, flags uint16, name string) {
		m := w.message(kind, flags, fam.protocol())
		w.string(unix.NFTA_TABLE_NAME, name)
		w.end(m)
	}
	for _, name := range r.others {
		table(unix.NFT_MSG_DELTABLE, 0, name)
	}
	if r.replace {
		if r.exists {
			table(unix.NFT_MSG_DELTABLE, 0, tableName)
		}
		table(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, tableName)
		for set := range sets {
			set.create(w, fam)
		}
	}
	for i := range r.create {
		r.create[i].create(w, fam)
	}
	if !r.replace {
		for i := range r.refill {
			r.empty(w, fam, r.refill[i].name)
		}
		for _, name := range r.chains {
			r.empty(w, fam, name)
		}
	}
	for i := range r.refill {
		r.refill[i].fill(w, fam)
	}
}

func (r *repair) empty(w *wire, fam family, chain string) {
	for i := range r.create {
		if r.create[i].name == chain {
			return
		}
	}
	m := w.message(unix.NFT_MSG_DELRULE, 0, fam.protocol())
	w.string(unix.NFTA_RULE_TABLE, tableName)
	w.string(unix.NFTA_RULE_CHAIN, chain)
	w.end(m)
}

func (r *repair) finish(w *wire, fam family) {
	for _, name := range r.sets {
		m := w.message(unix.NFT_MSG_DELSET, 0, fam.protocol())
		w.string(unix.NFTA_SET_TABLE, tableName)
		w.string(unix.NFTA_SET_NAME, name)
		w.end(m)
	}
	for _, name := range r.chains {
		m := w.message(unix.NFT_MSG_DELCHAIN, 0, fam.protocol())
		w.string(unix.NFTA_CHAIN_TABLE, tableName)
		w.string(unix.NFTA_CHAIN_NAME, name)
		w.end(m)
	}
}
