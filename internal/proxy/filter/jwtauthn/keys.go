package jwtauthn

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/jwt"
)

// keySource is where a provider's keys are from.
type keySource interface {
	// current gives the keys that get would give, if it need not do anything for that; else nil.
	current() *jwt.Keys
	// get gives the keys; it may wait.
	get(*check) (*jwt.Keys, jwt.Status)
}

// given is keys that came with the resource.
type given struct{ keys *jwt.Keys }

func (g given) current() *jwt.Keys { return g.keys }

func (g given) get(*check) (*jwt.Keys, jwt.Status) { return g.keys, jwt.OK }

const (
	defaultLifetime = 10 * time.Minute // of keys that were fetched
	defaultTimeout  = time.Second
	retryAfter      = time.Second // a fetch that failed
)

// remote is keys that are fetched. One request fetches, and those that need keys and have none wait for it.
type remote struct {
	fetch        filter.Fetch
	cluster, uri string
	timeout      time.Duration
	lifetime     time.Duration

	have atomic.Pointer[fetched]
	mu   sync.Mutex // who has it fetches
}

// fetched is what came of the last fetches; keys may be nil.
type fetched struct {
	keys  *jwt.Keys
	until time.Time
}

func newRemote(m *jwtv3.RemoteJwks, env *filter.Env) (*remote, error) {
	u := m.GetHttpUri()
	r := &remote{cluster: u.GetCluster(), uri: u.GetUri(), timeout: u.GetTimeout().AsDuration(), lifetime: m.GetCacheDuration().AsDuration()}
	switch {
	case r.cluster == "":
		return nil, field.Errorf("http_uri.cluster", "is empty")
	case r.uri == "":
		return nil, field.Errorf("http_uri.uri", "is empty")
	}
	if r.timeout <= 0 {
		r.timeout = defaultTimeout
	}
	if r.lifetime <= 0 {
		r.lifetime = defaultLifetime
	}
	if r.fetch = func(context.Context, string, string) ([]byte, error) { return nil, errors.New("nobody fetches") }; env != nil && env.Fetch != nil {
		r.fetch = env.Fetch
	}
	return r, nil
}

func (r *remote) current() *jwt.Keys {
	if f := r.have.Load(); f != nil && time.Now().Before(f.until) {
		return f.keys
	}
	return nil
}

func (r *remote) get(*check) (*jwt.Keys, jwt.Status) {
	f := r.have.Load()
	switch {
	case f != nil && time.Now().Before(f.until):
	case f != nil && f.keys != nil:
		if r.mu.TryLock() { // who does not fetch goes on with what there was
			f = r.refresh()
			r.mu.Unlock()
		}
	default:
		r.mu.Lock()
		if f = r.have.Load(); f == nil || !time.Now().Before(f.until) {
			f = r.refresh()
		}
		r.mu.Unlock()
	}
	if f.keys == nil {
		return nil, jwt.NoFetch
	}
	return f.keys, jwt.OK
}

// refresh fetches. r.mu is held.
func (r *remote) refresh() *fetched {
	ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
	defer cancel()
	next := &fetched{until: time.Now().Add(retryAfter)}
	if before := r.have.Load(); before != nil {
		next.keys = before.keys
	}
	if text, err := r.fetch(ctx, r.cluster, r.uri); err == nil {
		if keys, err := jwt.ParseKeys(text); err == nil {
			next = &fetched{keys, time.Now().Add(r.lifetime)}
		}
	}
	r.have.Store(next)
	return next
}
