package xdsclient

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
)

// resources is one type of resource: what is wanted of it, what of that the stream was told, and what there is. Client.mu guards it; held is changed
// only by the goroutine of Run.
type resources struct {
	url      string
	wildcard bool
	wanted   map[string]int      // how often, by name
	held     map[string]*held    // what the handler accepted last
	told     map[string]struct{} // the names that this stream is subscribed to; nil before the first request for the type
	changed  bool                // wanted may differ from told
	again    map[string]struct{} // names that nobody wanted and somebody wants again, before they were forgotten
	status   TypeStatus
}

// held is a resource as the handler has it. It never changes.
type held struct {
	version  string
	resource *anypb.Any
	since    time.Time
}

func (h *held) is(version string, r *anypb.Any) bool {
	return h != nil && h.version == version && h.resource.GetTypeUrl() == r.GetTypeUrl() && bytes.Equal(h.resource.GetValue(), r.GetValue())
}

// Subscribe asks for resources by name, each once more than before. The first to ask for a name gets an Update or a Remove for it; those that ask while
// it is subscribed to do not.
func (c *Client) Subscribe(typeURL string, names ...string) { c.want(typeURL, names, 1) }

// Unsubscribe takes back one Subscribe for each name. When it was the last, the client forgets the resource, without a word to the handler.
func (c *Client) Unsubscribe(typeURL string, names ...string) { c.want(typeURL, names, -1) }

func (c *Client) want(typeURL string, names []string, by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.types[typeURL]
	if r == nil {
		return
	}
	for _, name := range names {
		r.wanted[name] += by
		switch n := r.wanted[name]; {
		case n <= 0:
			delete(r.wanted, name)
			delete(r.again, name)
		case n == 1 && by > 0 && r.held[name] != nil:
			r.again[name] = struct{}{}
		}
	}
	r.changed = true
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// repeat brings the handler what it has given up and wants again, which the server has no reason to send once more. It runs where the handler's other
// calls do.
func (c *Client) repeat() {
	for _, url := range inOrder {
		c.mu.Lock()
		r := c.types[url]
		names := slices.Sorted(maps.Keys(r.again))
		clear(r.again)
		c.mu.Unlock()
		for _, name := range names {
			c.repeatOne(r, name)
		}
		if len(names) > 0 {
			c.handler.Applied(url)
		}
	}
}

func (c *Client) repeatOne(r *resources, name string) {
	c.mu.Lock()
	h := r.held[name]
	c.mu.Unlock()
	if h == nil {
		return
	}
	if err := c.handler.Update(r.url, name, h.resource); err != nil {
		c.log.Warn("a resource that was in force before was rejected", "type", r.url, "name", name, "error", err)
		c.mu.Lock()
		delete(r.held, name)
		c.mu.Unlock()
	}
}

// wants tells whether a resource concerns us.
func (r *resources) wants(name string) bool { return r.wildcard || r.wanted[name] > 0 }

// forget drops what is no longer wanted. It returns whether there was any.
func (r *resources) forget() bool {
	before := len(r.held)
	if !r.wildcard {
		maps.DeleteFunc(r.held, func(name string, _ *held) bool { return r.wanted[name] == 0 })
	}
	return len(r.held) != before
}

// difference gives the names to subscribe to and to unsubscribe from on a stream, and notes them as told.
func (r *resources) difference() (subscribe, unsubscribe []string) {
	for name := range r.wanted {
		if _, ok := r.told[name]; !ok {
			subscribe = append(subscribe, name)
		}
	}
	for name := range r.told {
		if r.wanted[name] == 0 {
			unsubscribe = append(unsubscribe, name)
		}
	}
	for _, name := range subscribe {
		r.told[name] = struct{}{}
	}
	for _, name := range unsubscribe {
		delete(r.told, name)
	}
	slices.Sort(subscribe)
	slices.Sort(unsubscribe)
	return subscribe, unsubscribe
}

// versions is what we have, for the server to send the rest.
func (r *resources) versions() map[string]string {
	v := make(map[string]string, len(r.held))
	for name, h := range r.held {
		v[name] = h.version
	}
	return v
}

// Resource is a resource in force.
type Resource struct {
	Name, Version string
	Resource      *anypb.Any // not to be changed
	Since         time.Time  // when it came into force in this process
}

// Resources gives what is in force of a type, by name.
func (c *Client) Resources(typeURL string) []Resource {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.types[typeURL]
	if r == nil {
		return nil
	}
	out := make([]Resource, 0, len(r.held))
	for _, name := range slices.Sorted(maps.Keys(r.held)) {
		h := r.held[name]
		out = append(out, Resource{name, h.version, h.resource, h.since})
	}
	return out
}
