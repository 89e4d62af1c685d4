package route

import (
	"strings"

	"github.com/weftmesh/weft/internal/proxy/match"
)

// pathIndex finds the first of a virtual host's routes that matches. Routes with a path or a prefix are found by it, so that those which cannot match
// are not looked at; the rest is tried one by one. Whatever is found first, the route with the lowest index wins.
type pathIndex struct {
	routes      []*Route
	exact       map[string][]int32
	exactFold   map[string][]int32
	prefix      *trie
	prefixFold  *trie
	rest        []int32
	oneByOne    bool // so few that looking each over is quicker
	foldsExact  bool
	foldsPrefix bool
}

// fewRoutes is where an index begins to pay.
const fewRoutes = 8

func (p *pathIndex) build(routes []*Route) {
	p.routes = routes
	p.oneByOne = len(routes) <= fewRoutes
	if p.oneByOne {
		return
	}
	p.exact, p.exactFold = map[string][]int32{}, map[string][]int32{}
	p.prefix, p.prefixFold = &trie{}, &trie{}
	for i, r := range routes {
		c, at := &r.match, int32(i)
		switch {
		case c.kind == pathExact && c.fold:
			p.exactFold[c.path] = append(p.exactFold[c.path], at)
			p.foldsExact = true
		case c.kind == pathExact:
			p.exact[c.path] = append(p.exact[c.path], at)
		case c.kind != pathPrefix && c.kind != pathSeparated:
			p.rest = append(p.rest, at)
		case c.fold:
			p.prefixFold.insert(c.path, at)
			p.foldsPrefix = true
		default:
			p.prefix.insert(c.path, at)
		}
	}
}

func (p *pathIndex) find(in *input) *Route {
	if p.oneByOne {
		for _, r := range p.routes {
			if r.match.matchesPath(in) && r.match.matchesRest(in) {
				return r
			}
		}
		return nil
	}
	best := int32(len(p.routes))
	best = p.first(p.exact[in.path], best, in)
	if p.foldsExact {
		var room [1024]byte
		best = p.first(p.exactFold[string(appendLower(room[:0], in.path))], best, in)
	}
	best = p.below(p.prefix, best, in, false)
	if p.foldsPrefix {
		best = p.below(p.prefixFold, best, in, true)
	}
	for _, i := range p.rest {
		if i >= best {
			break
		}
		if c := &p.routes[i].match; c.matchesRest(in) && c.matchesPath(in) { // the path is a regular expression: last
			best = i
		}
	}
	if int(best) == len(p.routes) {
		return nil
	}
	return p.routes[best]
}

// first gives the first of a list of routes, whose path is known to match, that matches and stands before best; else best.
func (p *pathIndex) first(list []int32, best int32, in *input) int32 {
	for _, i := range list {
		if i >= best {
			break
		}
		if c := &p.routes[i].match; c.endsSegment(in.path) && c.matchesRest(in) {
			return i
		}
	}
	return best
}

// below tries the routes of every prefix that the path has.
func (p *pathIndex) below(n *trie, best int32, in *input, fold bool) int32 {
	for rest := in.path; ; {
		best = p.first(n.routes, best, in)
		if rest == "" {
			return best
		}
		b := rest[0]
		if fold {
			b = match.Lower(b)
		}
		at := strings.IndexByte(n.starts, b)
		if at < 0 {
			return best
		}
		n = n.children[at]
		if l := len(n.label); len(rest) < l || rest[:l] != n.label && !(fold && match.EqualFold(rest[:l], n.label)) {
			return best
		}
		rest = rest[len(n.label):]
	}
}

// trie is prefixes by their common beginnings. The zero value holds none.
type trie struct {
	label    string // what this node adds to its parent's prefix; not empty but for the root
	routes   []int32
	starts   string // the first byte of each child's label
	children []*trie
}

func (t *trie) insert(prefix string, route int32) {
	for prefix != "" {
		at := strings.IndexByte(t.starts, prefix[0])
		if at < 0 {
			n := &trie{label: prefix}
			t.starts += prefix[:1]
			t.children = append(t.children, n)
			t, prefix = n, ""
			break
		}
		n := t.children[at]
		same := commonPrefix(n.label, prefix)
		if same < len(n.label) { // part the label in two
			upper := &trie{label: n.label[:same], starts: n.label[same : same+1], children: []*trie{n}}
			n.label = n.label[same:]
			t.children[at], n = upper, upper
		}
		t, prefix = n, prefix[same:]
	}
	t.routes = append(t.routes, route)
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func appendLower(dst []byte, s string) []byte {
	start := len(dst)
	dst = append(dst, s...)
	for i := start; i < len(dst); i++ {
		dst[i] = match.Lower(dst[i])
	}
	return dst
}
