package nftables

// staged is a transaction worked out: what it takes to bring it about, and what to remember when it is in force.
type staged struct {
	made     []balancer // chains to make
	touched  []*shareState
	del, add perSet
	places   int // in which something is added, changed or removed
}

// shareState is a shared element and who uses it.
type shareState struct {
	share
	users   int
	present bool // in the kernel
	change  int  // of users, by the transaction that is staged
	touched bool // by the transaction that is staged
}

// stage works a transaction out. It must be followed by settle or forget.
func (b *Backend) stage(t *transaction) *staged {
	s := &staged{}
	name := func(bal balancer) target {
		n, ok := b.balancers[bal]
		if !ok {
			n = target(bal.String())
			b.balancers[bal] = n
			s.made = append(s.made, bal)
		}
		return n
	}
	if t.sweep {
		for _, state := range b.shares {
			state.touched = true
			s.touched = append(s.touched, state)
		}
	}
	for i := range t.remove {
		s.del.put(&t.remove[i])
		s.places++
	}
	for i := range t.changes {
		c := &t.changes[i]
		b.count(s, c.now, 1)
		if !c.adopt {
			b.count(s, c.old, -1)
			b.scratch.had = c.old.elements(b.scratch.had[:0], name)
			b.scratch.want = c.now.elements(b.scratch.want[:0], name)
			s.places += difference(b.scratch.had, b.scratch.want, s.del.put, s.add.put)
			continue
		}
		for _, bal := range balancersOf(c.now) {
			name(bal)
		}
		s.places += difference(c.del, c.add, s.del.put, s.add.put)
	}
	for _, state := range s.touched {
		e := state.element()
		switch users := state.users + state.change; {
		case users > 0 && !state.present:
			s.add.put(&e)
			s.places++
		case users == 0 && state.present:
			s.del.put(&e)
			s.places++
		}
	}
	return s
}

// count notes how an entry's coming or going changes the use of shared elements.
func (b *Backend) count(s *staged, e *entry, by int) {
	e.shares(func(sh share) {
		state := b.shares[sh]
		if state == nil {
			state = &shareState{share: sh}
			b.shares[sh] = state
		}
		if !state.touched {
			state.touched = true
			s.touched = append(s.touched, state)
		}
		state.change += by
	})
}

// settle remembers that a transaction is in force.
func (b *Backend) settle(s *staged) {
	for _, state := range s.touched {
		state.users += state.change
		state.present = state.users > 0
	}
	b.untouch(s)
}

// forget remembers nothing of a transaction.
func (b *Backend) forget(s *staged) {
	for _, bal := range s.made {
		delete(b.balancers, bal)
	}
	b.untouch(s)
}

func (b *Backend) untouch(s *staged) {
	for _, state := range s.touched {
		state.change, state.touched = 0, false
		if state.users == 0 && !state.present {
			delete(b.shares, state.share)
		}
	}
}

func balancersOf(e *entry) (out []balancer) {
	if e == nil {
		return nil
	}
	all, outside := e.balancers()
	for _, bal := range [...]balancer{all, outside} {
		if bal.endpoints > 0 {
			out = append(out, bal)
		}
	}
	return out
}

// difference walks two ordered lists and tells what must be deleted and added to make one the other. An element whose value changes is
// deleted and added. It gives how many places are concerned.
func difference(had, want []element, del, add func(*element)) (places int) {
	for len(had) > 0 || len(want) > 0 {
		order := 0
		switch {
		case len(had) == 0:
			order = 1
		case len(want) == 0:
			order = -1
		default:
			order = had[0].compare(&want[0])
		}
		switch {
		case order < 0:
			del(&had[0])
			had = had[1:]
			places++
		case order > 0:
			add(&want[0])
			want = want[1:]
			places++
		default:
			if had[0] != want[0] {
				del(&had[0])
				add(&want[0])
				places++
			}
			had, want = had[1:], want[1:]
		}
	}
	return places
}
