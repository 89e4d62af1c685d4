package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/derive"
)

// Expect says that the source will deliver these kinds, and that the store is not full before it has. It is called before
// the source starts; a kind already synced stays so.
func (src *Source) Expect(kinds ...string) {
	src.store.note(func() {
		for _, kind := range kinds {
			if _, ok := src.kinds[kind]; !ok {
				src.kinds[kind] = false
			}
		}
	})
}

// MarkSynced says that the initial list of a kind is committed, or that there is none to wait for (its resource is not
// installed). It is called after that commit has returned. Once synced a kind stays synced.
func (src *Source) MarkSynced(kind string) {
	src.store.note(func() { src.kinds[kind] = true })
}

func (s *Store) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Synced tells whether every source has delivered the initial list of every kind it was expected to, and at least one
// was. Whoever follows a family and drains its feed after that has a full view.
func (s *Store) Synced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing, expected := s.missing()
	return expected && len(missing) == 0
}

// Wait waits until Synced. If ctx ends first, the error names what is missing.
func (s *Store) Wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		missing, expected := s.missing()
		changed := s.changed
		s.mu.Unlock()
		if expected && len(missing) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if !expected {
				return fmt.Errorf("no source of objects was started: %w", context.Cause(ctx))
			}
			return fmt.Errorf("waiting for the first list of %s: %w", strings.Join(missing, ", "), context.Cause(ctx))
		}
	}
}

// WaitFor waits until every source that was expected to deliver a kind has delivered its initial list. If none was, it does not wait.
func (s *Store) WaitFor(ctx context.Context, kind string) error {
	for {
		s.mu.Lock()
		there := !slices.ContainsFunc(s.sources, func(src *Source) bool {
			synced, expected := src.kinds[kind]
			return expected && !synced
		})
		changed := s.changed
		s.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the first list of %s: %w", kind, context.Cause(ctx))
		}
	}
}

func (s *Store) missing() (missing []string, expected bool) {
	for _, src := range s.sources {
		for kind, synced := range src.kinds {
			expected = true
			if !synced {
				missing = append(missing, kind+" from "+src.name)
			}
		}
	}
	slices.Sort(missing)
	return missing, expected
}

// commitMark is what is remembered of the last commit of a source.
type commitMark struct {
	rev      derive.Rev
	time     time.Time
	position string
}

func (src *Source) committed(rev derive.Rev, position string) {
	src.store.mu.Lock()
	defer src.store.mu.Unlock()
	if rev < src.last.rev { // two commits of one source may get here in the other order
		return
	}
	if position == "" {
		position = src.last.position
	}
	src.last = commitMark{rev, time.Now(), position}
}

// Status says how full and how recent the store is.
type Status struct {
	Rev     derive.Rev     `json:"rev"` // of the last commit that is delivered everywhere
	Synced  bool           `json:"synced"`
	Sources []SourceStatus `json:"sources"` // in the order of precedence
}

// SourceStatus says how full and how recent one source is.
type SourceStatus struct {
	Name       string     `json:"name"`
	Rev        derive.Rev `json:"rev"`                  // of its last commit; 0 if there was none
	LastCommit time.Time  `json:"lastCommit,omitzero"`  // when that was
	Position   string     `json:"position,omitempty"`   // what it said of its state, as in "resourceVersion 1234"
	Kinds      []string   `json:"kinds,omitempty"`      // that are synced
	WaitingFor []string   `json:"waitingFor,omitempty"` // kinds whose first list is not there
}

// Status gives the store's status. It does not wait for a commit in progress.
func (s *Store) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing, expected := s.missing()
	st := Status{Rev: s.db.Rev(), Synced: expected && len(missing) == 0}
	for _, src := range s.sources {
		ss := SourceStatus{Name: src.name, Rev: src.last.rev, LastCommit: src.last.time, Position: src.last.position}
		for kind, synced := range src.kinds {
			if synced {
				ss.Kinds = append(ss.Kinds, kind)
			} else {
				ss.WaitingFor = append(ss.WaitingFor, kind)
			}
		}
		slices.Sort(ss.Kinds)
		slices.Sort(ss.WaitingFor)
		st.Sources = append(st.Sources, ss)
	}
	return st
}
