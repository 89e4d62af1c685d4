package zone

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/weftmesh/weft/internal/dns/wire"
	"github.com/weftmesh/weft/internal/model"
)

// Config is what a [Zone] is told once.
type Config struct {
	// Domain is the cluster domain; "" is cluster.local.
	Domain string

	// TTL is how long answers may be kept, of both kinds; 0 is 5 s, as CoreDNS has it.
	TTL time.Duration

	// Reverse are the networks that belong to the cluster alone: an address in them that has no name does not exist. Other
	// addresses without a name are somebody else's to answer for.
	Reverse []netip.Prefix

	// Nameserver is the Service in front of this server, whose addresses ns.dns.<domain> has; the zero name is kube-system/kube-dns.
	Nameserver model.ServiceName
}

// Zone is what the cluster's names stand for at this moment. All methods may be called at any time from anywhere.
type Zone struct {
	domain     string // in wire form
	levels     int    // labels in the domain
	ttl        uint32 // seconds
	reverse    []netip.Prefix
	nameserver string // key

	names  table[string, *Records]      // by Records.key
	ptrs   table[netip.Addr, []pointer] // by the address they name, sorted
	soa    atomic.Pointer[wire.SOA]     // of the cluster domain; the reverse zones use it too
	spaces table[string, int]           // namespaces in wire form: Services in them, and one more if declared

	mu       sync.Mutex // of writers
	declared map[string]bool
	stats    Stats
}

// Stats is what a Zone holds and when it last changed.
type Stats struct {
	Domain     string
	Services   int
	Namespaces int
	Records    int       // resource records
	Revision   uint64    // changes that meant something since the start
	Changed    time.Time // when the last of them was
}

// New makes an empty Zone.
func New(c Config) (*Zone, error) {
	domain, err := wire.Pack(cmp.Or(c.Domain, "cluster.local"))
	if err != nil {
		return nil, fmt.Errorf("cluster domain: %w", err)
	}
	if len(domain) == 1 || len(domain) > wire.MaxName/2 {
		return nil, fmt.Errorf("cluster domain %q: empty or too long", c.Domain)
	}
	ttl := cmp.Or(c.TTL, 5*time.Second)
	if ttl < 0 || ttl > 24*time.Hour {
		return nil, fmt.Errorf("TTL %v: not between 0 and a day", c.TTL)
	}
	ns := c.Nameserver
	if ns == (model.ServiceName{}) {
		ns = model.ServiceName{Namespace: "kube-system", Name: "kube-dns"}
	}
	seed := maphash.MakeSeed()
	z := &Zone{
		domain: domain, ttl: uint32(ttl / time.Second), reverse: c.Reverse, nameserver: keyOf(ns),
		declared: map[string]bool{},
	}
	z.stats.Domain = wire.Unpack(domain)
	for i := 0; domain[i] != 0; i += 1 + int(domain[i]) {
		z.levels++
	}
	z.names.hash = func(k string) uint64 { return maphash.String(seed, k) }
	z.spaces.hash = z.names.hash
	z.ptrs.hash = func(a netip.Addr) uint64 { b := a.As16(); return maphash.Bytes(seed, b[:]) }
	z.changed(time.Now())
	return z, nil
}

// Domain is the cluster domain in wire form.
func (z *Zone) Domain() string { return z.domain }

func keyOf(n model.ServiceName) string {
	return wireLabel(label(n.Name)) + wireLabel(label(n.Namespace))
}

func wireLabel(l string) string { return string(rune(len(l))) + l }

// Set publishes the records of a Service in place of those it had; nil is Delete. It tells whether anything changed.
func (z *Zone) Set(name model.ServiceName, r *Records) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	key := keyOf(name)
	old, had := z.names.get(key)
	if r.Equal(old) {
		return false
	}
	z.repoint(old, r)
	if r != nil {
		z.names.set(key, r)
		z.stats.Records += r.Count()
	} else {
		z.names.remove(key)
	}
	if had {
		z.stats.Records -= old.Count()
	}
	space := wireLabel(label(name.Namespace))
	switch {
	case r != nil && !had:
		z.stats.Services++
		z.count(space, 1)
	case r == nil && had:
		z.stats.Services--
		z.count(space, -1)
	}
	z.changed(time.Now())
	return true
}

// Delete forgets a Service.
func (z *Zone) Delete(name model.ServiceName) bool { return z.Set(name, nil) }

// SetNamespace says that a namespace exists. One that holds a Service does so without being told; the others are told apart here from
// those that do not, for the names of Pods and for empty names.
func (z *Zone) SetNamespace(name string) { z.namespace(name, true) }

// DeleteNamespace takes back SetNamespace.
func (z *Zone) DeleteNamespace(name string) { z.namespace(name, false) }

func (z *Zone) namespace(name string, exists bool) {
	space := wireLabel(label(name))
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.declared[space] == exists {
		return
	}
	if exists {
		z.declared[space] = true
		z.count(space, 1)
	} else {
		delete(z.declared, space)
		z.count(space, -1)
	}
	z.changed(time.Now())
}

// count adds to the reasons why a namespace exists.
func (z *Zone) count(space string, d int) {
	before, _ := z.spaces.get(space)
	if before+d == 0 {
		z.spaces.remove(space)
	} else {
		z.spaces.set(space, before+d)
	}
	switch {
	case before == 0:
		z.stats.Namespaces++
	case before+d == 0:
		z.stats.Namespaces--
	}
}

// changed notes a change; the serial number of the zone is the time of its last change.
func (z *Zone) changed(now time.Time) {
	z.stats.Revision++
	z.stats.Changed = now
	z.soa.Store(&wire.SOA{
		Nameserver: "\x02ns\x03dns" + z.domain, Mailbox: "\x0ahostmaster" + z.domain,
		Serial: uint32(now.Unix()), Refresh: 7200, Retry: 1800, Expire: 86400, Minimum: z.ttl,
	})
}

// Stats tells what the Zone holds.
func (z *Zone) Stats() Stats {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.stats
}

// records finds the records of a Service by its key as it stands in a query.
func (z *Zone) records(key []byte) *Records {
	r, _ := z.names.get(view(key))
	return r
}

func (z *Zone) hasNamespace(space []byte) bool {
	_, ok := z.spaces.get(view(space))
	return ok
}

// view lets bytes be looked up as a string without copying them; the string must not outlive the call.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
