package jwtauthn

import (
	"hash/maphash"
	"strings"
	"sync"
)

const (
	cacheShards  = 16
	defaultCache = 1000
	// maxCached is how long a token may be to be remembered, as with Envoy.
	maxCached = 4096
)

// cache is tokens that were verified. When it is full any of them makes room.
type cache struct {
	seed   maphash.Seed
	most   int // in a shard
	shards [cacheShards]struct {
		sync.RWMutex
		all map[string]*verified
	}
}

func newCache(size int) *cache {
	if size <= 0 {
		size = defaultCache
	}
	return &cache{seed: maphash.MakeSeed(), most: max(1, size/cacheShards)}
}

func (c *cache) get(token string) *verified {
	if len(token) > maxCached {
		return nil
	}
	s := &c.shards[maphash.String(c.seed, token)%cacheShards]
	s.RLock()
	defer s.RUnlock()
	return s.all[token]
}

func (c *cache) put(token string, v *verified) {
	if len(token) > maxCached {
		return
	}
	s := &c.shards[maphash.String(c.seed, token)%cacheShards]
	s.Lock()
	defer s.Unlock()
	if s.all == nil {
		s.all = map[string]*verified{}
	}
	for old := range s.all {
		if len(s.all) < c.most {
			break
		}
		delete(s.all, old)
	}
	s.all[strings.Clone(token)] = v
}
