package forward

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/dns/wire"
)

// Run watches the upstreams until the context ends: it asks those that failed until they answer again, and finds out whether what an
// upstream is asked comes back to this server.
func (f *Forwarder) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, u := range f.ups {
		wg.Go(func() { f.watch(ctx, i, u) })
	}
}

// watch is the life of one upstream.
func (f *Forwarder) watch(ctx context.Context, i int, u *upstream) {
	tick := time.NewTicker(f.config.Probe)
	defer tick.Stop()
	checked, was := false, false
	for {
		if !checked && !u.looped.Load() {
			_, err := u.exchange(ctx, &f.config, question{name: f.loop.name(i), typ: wire.TypeHINFO})
			checked = err == nil
		}
		if u.down() && !u.looped.Load() {
			if _, err := u.exchange(ctx, &f.config, question{name: "\x00", typ: wire.TypeNS}); err != nil && !was && ctx.Err() == nil {
				f.config.Logger.Warn("upstream does not answer", "upstream", u.name, "err", err)
			}
		}
		if down := u.down(); down != was {
			if was = down; !down {
				f.config.Logger.Info("upstream answers again", "upstream", u.name)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// loop is how a forwarding loop is known: a name that nobody else can ask for, sent once through each upstream.
type loop struct{ suffix string }

func newLoop() loop {
	secret := strings.ToLower(rand.Text())
	return loop{suffix: string(rune(len(secret))) + secret + "\x04weft\x07invalid\x00"} // RFC 6761: invalid exists nowhere
}

func (l loop) name(i int) string {
	n := strconv.Itoa(i)
	return "\x04loop" + string(rune(len(n))) + n + l.suffix
}

// returned tells whether a query is one of our own, and remembers which upstream sent it back.
func (f *Forwarder) returned(q *wire.Query) bool {
	if q.Type != wire.TypeHINFO {
		return false
	}
	w := string(q.Name.Wire())
	if !strings.HasSuffix(w, f.loop.suffix) {
		return false
	}
	for i, u := range f.ups {
		if w == f.loop.name(i) && !u.looped.Swap(true) {
			f.config.Logger.Error("upstream sends our own questions back; it is not asked any more", "upstream", u.name)
		}
	}
	return true
}

// Upstream is the state of one resolver.
type Upstream struct {
	Address string
	Healthy bool
	Looped  bool // what it is asked comes back to this server; it is not asked any more
	Asked   uint64
	Failed  uint64
}

// Stats is the state of a Forwarder.
type Stats struct {
	Upstreams []Upstream

	CacheEntries, CacheBytes int
	Hits, Misses             uint64
	Stale                    uint64 // expired answers given because no upstream answered
}

// Stats tells the state.
func (f *Forwarder) Stats() Stats {
	s := Stats{Hits: f.hits.Load(), Misses: f.misses.Load(), Stale: f.stale.Load()}
	s.CacheEntries, s.CacheBytes = f.cache.stats()
	for _, u := range f.ups {
		s.Upstreams = append(s.Upstreams, Upstream{
			Address: u.name, Healthy: !u.down() && !u.looped.Load(), Looped: u.looped.Load(), Asked: u.asked.Load(), Failed: u.failed.Load(),
		})
	}
	return s
}
