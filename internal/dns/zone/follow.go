package zone

import (
	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/store"
)

// Follow compiles the model to the records of each Service; nil is none.
func Follow(db *derive.DB, m *compose.Model, domain string) *derive.Family[store.Key, *Records] {
	q := derive.Define(db, "dns/records", (*Records).Equal, func(r *derive.Reader, k store.Key) *Records {
		svc := m.Services.Get(r, k)
		if svc == nil {
			return nil
		}
		return RecordsOf(domain, svc, m.Endpoints.Get(r, k))
	})
	return derive.Each(q, m.ServiceNames)
}
