// Package store owns the objects that weft has been told of: typed tables, indexes over them, and commits that change
// several at once. What reads a table through a [derive.Reader] is run again when what it read changes.
//
// The store never derives anything and never interprets a spec: a row is what a source said, as it said it. Rows are
// immutable from the moment they are put; a change is another row.
//
// # Several sources
//
// Objects come from sources (an API server, a folder of manifests), and all of them fill the same tables. Each source
// commits only what it holds itself. If several hold an object of the same kind and key, the row of the source that was
// named first is the one to be seen; the others wait behind it and show when it goes. So the order in which
// [Store.Source] is first called is the precedence.
package store

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/weftmesh/weft/internal/derive"
)

// Key names a row within its table.
type Key struct {
	Namespace string `json:"namespace,omitempty"` // empty for a cluster-scoped object
	Name      string `json:"name"`
}

// String is "shop/web", or "n1" for a cluster-scoped object.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// Compare orders keys by namespace and name.
func (k Key) Compare(l Key) int {
	if c := strings.Compare(k.Namespace, l.Namespace); c != 0 {
		return c
	}
	return strings.Compare(k.Name, l.Name)
}

// ParseKey reads what Key.String writes.
func ParseKey(s string) (Key, error) {
	ns, name, both := strings.Cut(s, "/")
	if !both {
		ns, name = "", s
	}
	if name == "" || strings.Contains(name, "/") || both && ns == "" {
		return Key{}, fmt.Errorf("%q is not a key: want NAME or NAMESPACE/NAME", s)
	}
	return Key{Namespace: ns, Name: name}, nil
}

// Store is the tables of one process. Its methods are safe for concurrent use.
type Store struct {
	db *derive.DB

	mu      sync.Mutex // guards what follows; never held while committing
	sources []*Source
	kinds   map[string]bool // of the tables
	changed chan struct{}   // closed and replaced when something was expected or synced
}

// New makes an empty store with an engine of its own, which logs to log (nil: not at all).
func New(log *slog.Logger) *Store {
	return &Store{db: derive.New(log), kinds: map[string]bool{}, changed: make(chan struct{})}
}

// DB is the engine that queries over this store are defined on.
func (s *Store) DB() *derive.DB { return s.db }

// Source gives the source of that name, which is made if there is none. The order in which sources are made is their
// precedence: where several hold the same object, the row of the first is seen.
func (s *Store) Source(name string) *Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.sources, func(src *Source) bool { return src.name == name }); i >= 0 {
		return s.sources[i]
	}
	src := &Source{store: s, name: name, rank: len(s.sources), kinds: map[string]bool{}}
	s.sources = append(s.sources, src)
	return src
}

// Source is where objects come from. Only its own rows can be changed through it.
type Source struct {
	store *Store
	name  string
	rank  int // less is preferred

	// Guarded by store.mu.
	kinds map[string]bool // expected; true once synced
	last  commitMark
}

// Name is the name given to [Store.Source].
func (src *Source) Name() string { return src.name }

// Commit changes tables. All that fn puts and deletes appears at once, and when Commit returns, everything that depends on
// it and is followed has been delivered. It gives the revision it made.
//
// fn runs under the engine's lock: prepare the objects before, and call nothing that waits.
func (src *Source) Commit(fn func(tx *Tx)) derive.Rev {
	var position string
	rev := src.store.db.Commit(func(d *derive.Tx) {
		tx := &Tx{d: d, src: src}
		fn(tx)
		position = tx.position
	})
	src.committed(rev, position)
	return rev
}

// Tx is one commit of one source in progress. It is valid until the function given to Commit returns.
type Tx struct {
	d        *derive.Tx
	src      *Source
	position string
}

// Rev is the revision this commit makes.
func (tx *Tx) Rev() derive.Rev { return tx.d.Rev() }

// Source is the source that commits.
func (tx *Tx) Source() *Source { return tx.src }

// At notes which state of the source this commit brings the store to, in the source's own words: a resourceVersion, the
// time of a file. It shows in [Status].
func (tx *Tx) At(position string) { tx.position = position }
