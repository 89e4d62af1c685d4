package kube

import (
	"sync"
	"time"
)

// KindStatus says how well one kind arrives from one source.
type KindStatus struct {
	Kind      string
	Source    string    // the name of the source in the store
	Objects   int       // that the source holds
	Synced    bool      // the first list is committed, or the kind is not installed
	Connected bool      // changes arrive
	Absent    bool      // the API server does not know the kind
	Since     time.Time // of Connected being what it is; zero before the first answer or failure
	LastEvent time.Time // when an object, or a sign that nothing changed (a bookmark), arrived
	Events    uint64    // changes that arrived after the first list
	LastError string    // the last failure; kept when it works again
}

// Source is what fills tables: an [APIServer] or a [Folder].
type Source interface {
	// Status gives the state of every kind, in the order they were given.
	Status() []KindStatus
}

// state is the KindStatus that a running source keeps.
type state struct {
	mu sync.Mutex
	s  KindStatus
}

func (s *state) get() KindStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s
}

func (s *state) change(f func(*KindStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.s)
}

// connected notes whether changes arrive, and tells whether that is news.
func (s *state) connected(yes bool, err error) (news bool) {
	s.change(func(k *KindStatus) {
		news = k.Connected != yes || k.Since.IsZero()
		if news {
			k.Connected, k.Since = yes, time.Now()
		}
		if err != nil {
			k.LastError = err.Error()
		}
	})
	return news
}
