package cli

import (
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/jwks"
)

// newFetcher makes who gets the keys that RequestAuthentications ask for. The store is not full before it has tried: nobody's tokens are refused
// only because a component has just started.
func newFetcher(w *world, t traffic) *jwks.Fetcher {
	of := w.tables.RequestAuthentications
	f := &jwks.Fetcher{Client: jwks.NewClient(), Store: w.store, Table: w.keySets, Wanted: derive.Each(t.keySources, of.KeySet()), After: of.Kind(), Log: w.log}
	f.Expect()
	return f
}
