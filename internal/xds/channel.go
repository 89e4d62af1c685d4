package xds

import (
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/weftmesh/weft/internal/xds/resource"
)

// kind is a type of resource.
type kind int

// The kinds, in the order in which a client should have them.
const (
	clusters kind = iota
	endpoints
	secrets
	listeners
	routes
	services
	workloads
	kinds
)

var typeURLs = [kinds]string{resource.ClusterType, resource.EndpointType, resource.SecretType, resource.ListenerType, resource.RouteType, resource.ServiceType, resource.WorkloadType}

// String gives the service's usual short name.
func (k kind) String() string {
	return [...]string{"CDS", "EDS", "SDS", "LDS", "RDS", "services", "workloads"}[k]
}

// wildcards tells whether "all of them" means something for the kind.
func (k kind) wildcards() bool { return k == clusters || k == listeners || k == services }

// absent is the version of what the client was told does not exist.
const absent = "-"

// entry is one resource on a channel.
type entry struct {
	want   *Resource // nil: there is none
	kept   *Resource // of endpoints that are gone: what they were, while the client may still use their cluster
	byName bool      // the client named it
	has    string    // the version that was sent last, or absent; "": nothing was
	stale  bool      // is to be sent though the client has it
	acked  string    // the version that the client said it uses; "" for none
	why    string    // the text with which the client rejected the version it was sent; "" if it did not

	counted string // the version that is part of the channel's sum
	stop    func() // ends the subscription of what is followed name by name
	secret  secretKey
}

// flight is a response that is not answered yet.
type flight struct {
	nonce    string
	names    []string
	versions []string // of names
	removed  []string
	sent     time.Time
}

// channel is one kind of resource on one stream: what the client asked for, what there is, and what it has.
type channel struct {
	kind     kind
	asked    bool
	wildcard bool
	greet    bool // an answer is due even if there is nothing to send

	entries map[string]*entry
	todo    map[string]struct{} // names of which the client has something else than it should
	halves  [][]string          // parts of a rejected response, to be sent again one by one
	flight  *flight
	nonces  uint64

	wanted, acked sum
	rejected      map[string]struct{}
	lastText      string // of the last rejection
	pushed        time.Time
}

// sum stands for a set of resources with their versions, whatever their order.
type sum struct {
	count int
	hash  uint64
}

func (s *sum) change(name, was, is string) {
	if was == is {
		return
	}
	if was != "" {
		s.count--
		s.hash -= mark(name, was)
	}
	if is != "" {
		s.count++
		s.hash += mark(name, is)
	}
}

func mark(name, version string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name)
	_, _ = h.Write([]byte{0})
	_, _ = io.WriteString(h, version)
	return h.Sum64()
}

// String is empty for the empty set.
func (s sum) String() string {
	if s.count == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", s.hash)
}

func newChannel(k kind) *channel {
	return &channel{kind: k, entries: map[string]*entry{}, todo: map[string]struct{}{}, rejected: map[string]struct{}{}}
}

// entry gives the entry of a name, made if it is missing.
func (c *channel) entry(name string) *entry {
	e := c.entries[name]
	if e == nil {
		e = &entry{}
		c.entries[name] = e
	}
	return e
}

// set says what there is now under a name.
func (c *channel) set(name string, r *Resource) {
	e := c.entries[name]
	if e == nil {
		if r == nil {
			return
		}
		e = c.entry(name)
	}
	if r == nil && e.want != nil && c.kind == endpoints {
		e.kept = e.want
	}
	e.want = r
	c.check(name, e)
}

func (c *channel) subscribed(e *entry) bool { return e.byName || c.wildcard && c.kind.wildcards() }

// check decides whether there is something to do about a name, and forgets it if nobody wants it.
func (c *channel) check(name string, e *entry) {
	version := ""
	due := false
	switch {
	case !c.subscribed(e): // the client has dropped it itself
		e.has, e.stale = "", false
		c.use(name, e, "")
		c.accept(name, e)
	case e.want != nil:
		version = e.want.Version
		due = e.stale || e.has != version
	case e.byName:
		due = e.stale || e.has != absent
	default:
		due = e.has != "" && e.has != absent || e.stale
	}
	c.wanted.change(name, e.counted, version)
	e.counted = version
	if due {
		c.todo[name] = struct{}{}
		return
	}
	delete(c.todo, name)
	if e.want == nil && !e.byName && (e.has == "" || e.has == absent) && e.stop == nil {
		c.use(name, e, "")
		c.accept(name, e)
		delete(c.entries, name)
	}
}

// use notes the version that the client uses.
func (c *channel) use(name string, e *entry, version string) {
	c.acked.change(name, e.acked, version)
	e.acked = version
}

// accept forgets that a resource was rejected.
func (c *channel) accept(name string, e *entry) {
	if e.why != "" {
		e.why = ""
		delete(c.rejected, name)
	}
}

// resend has a resource sent again whatever the client has.
func (c *channel) resend(name string, e *entry) {
	e.stale = true
	c.check(name, e)
}

// isRemoval tells whether a name that is to be done something about is to be taken from a client that has it.
func (c *channel) isRemoval(e *entry) bool {
	return e.want == nil && e.has != "" && e.has != absent && (!e.stale || !e.byName || e.kept != nil)
}

// hasNews tells whether something is to be sent that is no removal.
func (c *channel) hasNews() bool {
	if c.greet || len(c.halves) > 0 {
		return true
	}
	for name := range c.todo {
		if !c.isRemoval(c.entries[name]) {
			return true
		}
	}
	return false
}

// settled tells whether the client has said of everything whether it takes it.
func (c *channel) settled() bool {
	return !c.asked || len(c.todo) == 0 && len(c.halves) == 0 && c.flight == nil && !c.greet
}

// next makes the next response: nil if there is nothing to send, or one is in flight. Removals are left for later unless they are allowed.
// The response holds no more than limit bytes, but at least one resource.
func (c *channel) next(now time.Time, removals bool, limit int) (f *flight, bodies []*Resource) {
	if c.flight != nil || !c.asked {
		return nil, nil
	}
	f = &flight{sent: now}
	names := c.batch()
	size := 0
	for _, name := range names {
		e := c.entries[name]
		if e == nil || !c.subscribed(e) {
			continue
		}
		r := e.want
		if r == nil && e.stale && c.isRemoval(e) && !removals {
			r = e.kept
		}
		if r == nil {
			if removals || !c.isRemoval(e) {
				f.removed = append(f.removed, name)
				e.has, e.stale, e.kept = absent, false, nil
				delete(c.todo, name)
			}
			continue
		}
		n := len(r.Body.Value) + 2*len(name) + 128
		if size > 0 && size+n > limit {
			break
		}
		size += n
		f.names, f.versions = append(f.names, name), append(f.versions, r.Version)
		bodies = append(bodies, r)
		e.has, e.stale = r.Version, false
		if r == e.want {
			delete(c.todo, name)
			e.kept = nil
		}
	}
	if len(f.names)+len(f.removed) == 0 && !(c.greet && len(c.todo) == 0) {
		return nil, nil
	}
	c.greet = false
	c.nonces++
	f.nonce = fmt.Sprintf("%v-%d", c.kind, c.nonces)
	c.flight, c.pushed = f, now
	return f, bodies
}

// batch gives the names that the next response is made of, sorted.
func (c *channel) batch() []string {
	for len(c.halves) > 0 {
		half := c.halves[0]
		c.halves = c.halves[1:]
		half = slices.DeleteFunc(half, func(name string) bool {
			e := c.entries[name]
			return e == nil || e.want == nil || !c.subscribed(e)
		})
		if len(half) > 0 {
			return half
		}
	}
	return slices.Sorted(maps.Keys(c.todo))
}

// answered takes in what the client says of the response in flight. text is empty if it takes it.
func (c *channel) answered(text string) (f *flight) {
	f, c.flight = c.flight, nil
	for _, name := range f.removed {
		if e := c.entries[name]; e != nil {
			c.use(name, e, "")
			c.accept(name, e)
			c.check(name, e)
		}
	}
	if text != "" {
		c.lastText = text
		if n := len(f.names); n > 1 { // some of them may be good
			c.halves = append([][]string{f.names[:n/2], f.names[n/2:]}, c.halves...)
			return f
		}
	}
	for i, name := range f.names {
		e := c.entries[name]
		if e == nil {
			continue
		}
		if text == "" {
			c.use(name, e, f.versions[i])
			c.accept(name, e)
		} else {
			e.why = text
			c.rejected[name] = struct{}{}
		}
		c.check(name, e)
	}
	return f
}
