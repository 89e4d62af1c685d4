package forward

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

const cacheShards = 32

// cache keeps answers by key within a bound of bytes; what was not asked for the longest goes first.
type cache struct {
	seed   maphash.Seed
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu    sync.Mutex
	items map[string]*item
	first item // ring, most recently used next to it
	bytes int
	limit int
	_     [64]byte // shards do not share a cache line
}

type item struct {
	key        string
	answer     *answer
	prev, next *item

	// hold is until when an expired answer may be given without asking again, on the Forwarder's clock.
	hold atomic.Int64
}

func newCache(limit int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		s := &c.shards[i]
		s.items, s.limit = map[string]*item{}, limit/cacheShards
		s.first.prev, s.first.next = &s.first, &s.first
	}
	return c
}

func (c *cache) shard(key []byte) *cacheShard {
	return &c.shards[maphash.Bytes(c.seed, key)%cacheShards]
}

// get gives what is kept under a key, whether or not it has expired, and whether it may be given now.
func (c *cache) get(key []byte, now time.Duration) (it *item, good bool) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	it = s.items[unsafe.String(unsafe.SliceData(key), len(key))]
	if it == nil {
		return nil, false
	}
	it.unlink()
	s.link(it)
	return it, now < it.answer.stored+it.answer.life || int64(now) < it.hold.Load()
}

// put keeps an answer in place of what was there.
func (c *cache) put(key []byte, a *answer) {
	s := c.shard(key)
	it := &item{key: string(key), answer: a}
	s.mu.Lock()
	defer s.mu.Unlock()
	if it.size() > s.limit {
		return
	}
	if old := s.items[it.key]; old != nil {
		s.drop(old)
	}
	s.items[it.key] = it
	s.link(it)
	s.bytes += it.size()
	for s.bytes > s.limit {
		s.drop(s.first.prev)
	}
}

// stats counts what is kept.
func (c *cache) stats() (entries, bytes int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		entries += len(s.items)
		bytes += s.bytes
		s.mu.Unlock()
	}
	return entries, bytes
}

func (s *cacheShard) link(it *item) {
	it.prev, it.next = &s.first, s.first.next
	it.prev.next, it.next.prev = it, it
}

func (it *item) unlink() { it.prev.next, it.next.prev = it.next, it.prev }

func (s *cacheShard) drop(it *item) {
	it.unlink()
	delete(s.items, it.key)
	s.bytes -= it.size()
}

// size is what an item costs, about: its bytes and what the structures around them take.
func (it *item) size() int {
	return 256 + len(it.key) + cap(it.answer.packed) + 32*cap(it.answer.records)
}
