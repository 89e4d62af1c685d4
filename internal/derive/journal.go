package derive

import (
	"slices"
	"sync/atomic"
)

// journal is a map whose entries hang in a list, the one that changed last first. A follower is only a cursor into it, so
// a change costs one move in the list however many follow, and a follower that was away gets each entry once.
//
// It is written with both locks held, and read with either of them or with the gate shared.
type journal[K comparable, V any] struct {
	db        *DB
	members   map[K]*member[K, V]
	head      member[K, V] // newest is head.next
	seq       uint64       // counts changes
	followers []*follower[K, V]
	gone      int // members that are gone but that not all followers may have seen go
	trimAt    int // look for members to forget when gone reaches this
}

type member[K comparable, V any] struct {
	prev, next *member[K, V]
	key        K
	val        V
	gone       bool
	born       uint64 // the seq at which it came, or came back
	went       uint64 // the seq at which it had gone before that; 0 if it had not
	seq        uint64 // the seq of its last change
	rev        Rev
}

func (j *journal[K, V]) init(db *DB) {
	j.db = db
	j.members = map[K]*member[K, V]{}
	j.head.prev, j.head.next = &j.head, &j.head
}

func (j *journal[K, V]) get(k K) (v V, ok bool) {
	if m := j.members[k]; m != nil && !m.gone {
		return m.val, true
	}
	return v, false
}

func (j *journal[K, V]) set(k K, v V, rev Rev) {
	m := j.members[k]
	if m == nil {
		m = &member[K, V]{key: k, born: j.seq + 1}
		j.members[k] = m
	}
	if m.gone {
		m.gone, m.went, m.born = false, m.seq, j.seq+1
		j.gone--
	}
	m.val = v
	j.move(m, rev)
}

func (j *journal[K, V]) remove(k K, rev Rev) {
	m := j.members[k]
	if m == nil || m.gone {
		return
	}
	var none V
	m.val, m.gone = none, true
	j.gone++
	j.move(m, rev)
}

func (j *journal[K, V]) move(m *member[K, V], rev Rev) {
	j.seq++
	m.seq, m.rev = j.seq, rev
	if m.next != nil {
		m.prev.next, m.next.prev = m.next, m.prev
	}
	m.prev, m.next = &j.head, j.head.next
	m.prev.next, m.next.prev = m, m
}

// notify puts every follower that is behind into its feed, once per commit.
func (j *journal[K, V]) notify() {
	for _, fl := range j.followers {
		if fl.seen < j.seq {
			fl.f.enqueue(fl, &fl.queued)
		}
	}
	if j.gone > j.trimAt {
		j.trim()
		// Looking costs as much as there are members, so not for every one that goes, and not over and over for what
		// a slow follower holds back.
		j.trimAt = max(64, 2*j.gone, len(j.members)/2)
	}
}

// trim forgets members that are gone and that every follower has seen go.
func (j *journal[K, V]) trim() {
	low := j.seq
	for _, fl := range j.followers {
		low = min(low, fl.seen)
	}
	for k, m := range j.members {
		if m.gone && m.seq <= low {
			m.prev.next, m.next.prev = m.next, m.prev
			delete(j.members, k)
			j.gone--
		}
	}
}

// follower is a cursor into a journal.
type follower[K comparable, V any] struct {
	j       *journal[K, V]
	f       *Feed
	fn      func(Delta[K, V])
	seen    uint64 // written by the drain, with the gate shared
	out     []Delta[K, V]
	queued  bool
	stopped atomic.Bool
}

// follow adds a follower that will be told of everything that is there. mu is held.
func (j *journal[K, V]) follow(f *Feed, fn func(Delta[K, V])) (stop func()) {
	f.check(j.db)
	fl := &follower[K, V]{j: j, f: f, fn: fn}
	j.db.gate.Lock()
	j.followers = append(j.followers, fl)
	f.enqueue(fl, &fl.queued)
	j.db.gate.Unlock()
	j.db.ring()
	return func() {
		if fl.stopped.Swap(true) {
			return
		}
		j.db.mu.Lock()
		defer j.db.mu.Unlock()
		j.db.gate.Lock()
		defer j.db.gate.Unlock()
		if i := slices.Index(j.followers, fl); i >= 0 {
			j.followers = slices.Delete(j.followers, i, i+1)
		}
		j.trimAt = 0 // it may have been the one that held others back
	}
}

func (fl *follower[K, V]) take() {
	j := fl.j
	fl.queued = false
	for m := j.head.next; m != &j.head && m.seq > fl.seen; m = m.next {
		if m.gone && fl.seen >= m.went && fl.seen < m.born { // it came and went unseen
			continue
		}
		fl.out = append(fl.out, Delta[K, V]{m.key, m.val, m.gone, m.rev})
	}
	fl.seen = j.seq
}

func (fl *follower[K, V]) emit() (n int) {
	out := fl.out
	for i := len(out) - 1; i >= 0 && !fl.stopped.Load(); i-- { // oldest first
		fl.fn(out[i])
		n++
	}
	clear(out)
	if fl.out = out[:0]; cap(out) > 4096 {
		fl.out = nil
	}
	return n
}
