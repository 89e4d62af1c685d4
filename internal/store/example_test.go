package store_test

import (
	"fmt"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/store"
)

type service struct{ Namespace, Name, Address string }

type slice struct {
	Namespace, Name, Service string
	Addresses                []string
}

// Rows come from a source; queries read them; a family carries "this query for every Service" to a consumer.
func Example() {
	s := store.New(nil)
	services := store.NewTable(s, "Service",
		func(o *service) store.Key { return store.Key{Namespace: o.Namespace, Name: o.Name} },
		func(a, b *service) bool { return *a == *b })
	slices := store.NewTable(s, "EndpointSlice",
		func(o *slice) store.Key { return store.Key{Namespace: o.Namespace, Name: o.Name} }, nil)
	byService := store.NewIndex(slices, "service",
		func(o *slice) []store.Key { return []store.Key{{Namespace: o.Namespace, Name: o.Service}} })

	backends := derive.Define(s.DB(), "backends", derive.Equal[string], func(r *derive.Reader, k store.Key) string {
		svc := services.Get(r, k)
		if svc == nil {
			return ""
		}
		n := 0
		for _, sl := range byService.List(r, k) {
			n += len(sl.Addresses)
		}
		if n == 0 {
			r.Report(finding.Finding{
				Object:   finding.Object{Kind: "Service", Namespace: k.Namespace, Name: k.Name},
				Severity: finding.Warning, Code: "no-endpoints", Message: "nothing is ready behind it",
			})
		}
		return fmt.Sprintf("%s -> %d", svc.Address, n)
	})
	feed := s.DB().NewFeed()
	family := derive.Each(backends, services.KeySet())
	defer family.Follow(feed, func(d derive.Delta[store.Key, string]) { fmt.Println(d.Key, d.Value, d.Gone) })()

	api := s.Source("api-server")
	api.Commit(func(tx *store.Tx) { services.Put(tx, &service{"shop", "web", "10.0.0.1"}) })
	<-feed.Wake()
	feed.Drain()
	fmt.Println(s.DB().AllFindings())
	api.Commit(func(tx *store.Tx) {
		slices.Put(tx, &slice{"shop", "web-1", "web", []string{"10.1.0.7", "10.1.0.8"}})
	})
	api.Commit(func(tx *store.Tx) { services.Put(tx, &service{"shop", "web", "10.0.0.1"}) }) // says the same
	feed.Drain()
	api.Commit(func(tx *store.Tx) { services.Delete(tx, store.Key{Namespace: "shop", Name: "web"}) })
	feed.Drain()
	// Output:
	// shop/web 10.0.0.1 -> 0 false
	// [warning Service shop/web: nothing is ready behind it (no-endpoints)]
	// shop/web 10.0.0.1 -> 2 false
	// shop/web  true
}
