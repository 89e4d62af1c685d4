package forward

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/internal/dns/wire"
)

// Forwarder answers from its cache or by asking its upstreams. All methods may be called at any time from anywhere.
type Forwarder struct {
	config Config
	ups    []*upstream
	cache  *cache
	loop   loop
	start  time.Time

	mu    sync.Mutex
	calls map[string]*call

	hits, misses, stale atomic.Uint64
}

// call is a question being asked; whoever has the same meanwhile waits for it.
type call struct {
	done   chan struct{}
	answer *answer
}

// New makes a Forwarder. It asks nobody until it is asked; [Forwarder.Run] makes it watch its upstreams.
func New(c Config) *Forwarder {
	f := &Forwarder{config: c.withDefaults(), loop: newLoop(), start: time.Now(), calls: map[string]*call{}}
	f.cache = newCache(f.config.CacheBytes)
	for _, a := range f.config.Upstreams {
		f.ups = append(f.ups, &upstream{addr: a, name: a.String()})
	}
	return f
}

func (f *Forwarder) now() time.Duration { return time.Since(f.start) }

// key is what answers are kept under: everything of a query that changes the answer. It is written into b.
func key(q *wire.Query, b []byte) []byte {
	b = append(b[:0], q.Name.Wire()...)
	bits := byte(0)
	if q.DO {
		bits |= 1
	}
	if q.Flags&wire.FlagCD != 0 {
		bits |= 2
	}
	return append(b, byte(q.Type>>8), byte(q.Type), bits)
}

const maxKey = wire.MaxName + 3

// Cached gives the answer to q in buf, of at most limit bytes, if it is known without asking anybody; otherwise nil.
func (f *Forwarder) Cached(q *wire.Query, m *wire.Message, buf []byte, limit int) []byte {
	if len(f.ups) == 0 || f.returned(q) {
		return f.refuse(q, m, buf, limit)
	}
	var b [maxKey]byte
	now := f.now()
	it, good := f.cache.get(key(q, b[:]), now)
	if !good {
		f.misses.Add(1)
		return nil
	}
	f.hits.Add(1)
	return it.answer.write(q, m, buf, limit, f.config.UDPSize, now)
}

func (f *Forwarder) refuse(q *wire.Query, m *wire.Message, buf []byte, limit int) []byte {
	if !m.Begin(buf, limit, q, f.config.UDPSize) {
		return nil
	}
	return m.End(wire.Refused, wire.FlagRA)
}

// Resolve gives the answer to q in buf, of at most limit bytes, asking upstreams if it must. There always is one: SERVFAIL at worst.
func (f *Forwarder) Resolve(ctx context.Context, q *wire.Query, m *wire.Message, buf []byte, limit int) []byte {
	if len(f.ups) == 0 {
		return f.refuse(q, m, buf, limit)
	}
	var b [maxKey]byte
	k := key(q, b[:])
	a := f.resolve(ctx, k, question{name: string(q.Name.Wire()), typ: q.Type, do: q.DO, cd: q.Flags&wire.FlagCD != 0})
	return a.write(q, m, buf, limit, f.config.UDPSize, f.now())
}

// Lookup gives the answer's records for a name in wire form, each packed by itself, and the response code. An error means that nobody
// could say.
func (f *Forwarder) Lookup(ctx context.Context, name string, t wire.Type) ([][]byte, wire.Code, error) {
	if len(f.ups) == 0 {
		return nil, 0, errors.New("no upstreams")
	}
	k := append([]byte(name), byte(t>>8), byte(t), 0)
	a := f.resolve(ctx, k, question{name: name, typ: t})
	if a.code != wire.Success && a.code != wire.NXDomain || a.packed == nil {
		return nil, a.code, errors.New("upstreams do not answer")
	}
	b := append([]byte(nil), a.packed...)
	a.age(b, len(b), f.now())
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		return nil, a.code, err
	}
	var records [][]byte
	for _, rr := range m.Answer {
		b := make([]byte, dns.Len(rr)+1)
		n, err := dns.PackRR(rr, b, 0, nil, false)
		if err != nil {
			return nil, a.code, err
		}
		records = append(records, b[:n])
	}
	return records, a.code, nil
}

// resolve asks, once for all who want to know the same at the same time.
func (f *Forwarder) resolve(ctx context.Context, k []byte, q question) *answer {
	f.mu.Lock()
	c := f.calls[string(k)]
	if c != nil {
		f.mu.Unlock()
		select {
		case <-c.done:
			return c.answer
		case <-ctx.Done():
			return failure(f.now())
		}
	}
	c = &call{done: make(chan struct{}), answer: failure(f.now())}
	f.calls[string(k)] = c
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.calls, string(k))
		f.mu.Unlock()
		close(c.done)
	}()

	if it, good := f.cache.get(k, f.now()); good { // whoever had the same question was done between our two looks
		c.answer = it.answer
		return c.answer
	}
	a, err := f.ask(ctx, q)
	switch {
	case a != nil && a.code != wire.ServFail && a.code != wire.Refused:
		if a.life > 0 {
			f.cache.put(k, a)
		}
		c.answer = a
	case ctx.Err() != nil: // we are told to stop: nothing is learnt from that
	default:
		f.config.Logger.Debug("no upstream answers", "name", wire.Unpack(q.name), "err", err)
		if a == nil {
			a = failure(f.now())
		}
		c.answer = f.fallback(k, a)
	}
	return c.answer
}

// fallback gives the expired answer that may stand in for a failure, or keeps the failure for a moment.
func (f *Forwarder) fallback(k []byte, failed *answer) *answer {
	now := f.now()
	it, _ := f.cache.get(k, now)
	if it != nil && it.answer.packed != nil && now < it.answer.stored+it.answer.life+f.config.Stale && it.answer.code != wire.ServFail {
		it.hold.Store(int64(now + time.Second))
		f.stale.Add(1)
		return it.answer
	}
	failed.life = time.Second
	f.cache.put(k, failed)
	return failed
}

// ask asks upstreams in turn until one gives an answer that settles it. An answer comes back with an error only if it does not.
func (f *Forwarder) ask(ctx context.Context, q question) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, f.config.Timeout)
	defer cancel()
	var last *answer
	var errs []error
	for _, u := range f.order() {
		m, err := u.exchange(ctx, &f.config, q)
		if err == nil {
			var a *answer
			if a, err = newAnswer(m, f.now(), &f.config); err == nil {
				if a.code == wire.Success || a.code == wire.NXDomain {
					return a, nil
				}
				last = a
				continue
			}
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return last, errors.Join(errs...)
}

// order gives the upstreams as they are to be asked: those that answer first, from one taken by chance on.
func (f *Forwarder) order() []*upstream {
	good := make([]*upstream, 0, len(f.ups))
	var bad []*upstream
	at := rand.IntN(max(1, len(f.ups)))
	for i := range f.ups {
		switch u := f.ups[(at+i)%len(f.ups)]; {
		case u.looped.Load():
		case u.down():
			bad = append(bad, u)
		default:
			good = append(good, u)
		}
	}
	return append(good, bad...)
}
