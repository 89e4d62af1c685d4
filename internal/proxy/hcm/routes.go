package hcm

import (
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/internal/proxy/route"
)

// Routes is where a route table is looked up, by those who are served by one name in RDS or by one inline table.
type Routes struct {
	table atomic.Pointer[route.Table]
	once  sync.Once
	ready chan struct{}
}

// NewRoutes makes a source without a table: nothing matches.
func NewRoutes() *Routes { return &Routes{ready: make(chan struct{})} }

// Set puts a table in place; exchanges that have begun keep the one they have. nil takes the table away: nothing matches then.
func (r *Routes) Set(t *route.Table) {
	r.table.Store(t)
	r.once.Do(func() { close(r.ready) })
}

// Table is the table in force, or nil.
func (r *Routes) Table() *route.Table { return r.table.Load() }

// Ready is closed once there was a table, or it became known that there is none.
func (r *Routes) Ready() <-chan struct{} { return r.ready }
