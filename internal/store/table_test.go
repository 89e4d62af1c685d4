package store_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/store"
)

// thing is a row with a meaning (Value, Tags) and something that is none (Version).
type thing struct {
	Name    string
	Value   int
	Tags    []string
	Version int
}

func key(name string) store.Key { return store.Key{Namespace: "a", Name: name} }

type fixture struct {
	*store.Store
	things *store.Table[thing]
	byTag  *store.Index[string, thing]
	db     *derive.DB
	api    *store.Source
	folder *store.Source
}

func newFixture() *fixture {
	s := store.New(nil)
	f := &fixture{Store: s, db: s.DB(), api: s.Source("api"), folder: s.Source("folder")}
	f.things = store.NewTable(s, "Thing", func(x *thing) store.Key { return key(x.Name) },
		func(a, b *thing) bool { return a.Value == b.Value && slices.Equal(a.Tags, b.Tags) })
	f.byTag = store.NewIndex(f.things, "tag", func(x *thing) []string { return x.Tags })
	return f
}

func (f *fixture) put(src *store.Source, rows ...*thing) (changed bool) {
	src.Commit(func(tx *store.Tx) {
		for _, row := range rows {
			changed = f.things.Put(tx, row) || changed
		}
	})
	return changed
}

func (f *fixture) del(src *store.Source, name string) (changed bool) {
	src.Commit(func(tx *store.Tx) { changed = f.things.Delete(tx, key(name)) })
	return changed
}

func names(rows []*thing) (out []string) {
	for _, r := range rows {
		out = append(out, fmt.Sprint(r.Name, r.Value))
	}
	return out
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// counted is a query that says how often it ran.
func counted[K comparable](f *fixture, name string, read func(r *derive.Reader, k K) string) (ask func(k K) (string, int)) {
	n := 0
	q := derive.Define(f.db, name, derive.Equal[string], func(r *derive.Reader, k K) string { n++; return read(r, k) })
	return func(k K) (string, int) { v := q.Read(k); return v, n }
}

func TestReads(t *testing.T) {
	f := newFixture()
	row := counted(f, "row", func(r *derive.Reader, name string) string { return fmt.Sprint(f.things.Get(r, key(name)) != nil) })
	tag := counted(f, "tag", func(r *derive.Reader, tag string) string { return fmt.Sprint(names(f.byTag.List(r, tag))) })
	all := counted(f, "all", func(r *derive.Reader, _ int) string { return fmt.Sprint(f.things.Keys(r)) })
	expect := func(what, wantRow string, rowRuns int, wantTag string, tagRuns int, wantAll string, allRuns int) {
		t.Helper()
		r, nr := row("x")
		g, ng := tag("red")
		a, na := all(0)
		same(t, what, []any{r, nr, g, ng, a, na}, []any{wantRow, rowRuns, wantTag, tagRuns, wantAll, allRuns})
	}
	expect("empty", "false", 1, "[]", 1, "[]", 1)
	f.put(f.api, &thing{Name: "y"})
	expect("another", "false", 1, "[]", 1, "[a/y]", 2)
	f.put(f.api, &thing{Name: "x", Tags: []string{"red", "blue", "red"}})
	expect("appears", "true", 2, "[x0]", 2, "[a/x a/y]", 3)
	f.put(f.api, &thing{Name: "x", Tags: []string{"red", "blue", "red"}, Version: 2})
	expect("means the same", "true", 2, "[x0]", 2, "[a/x a/y]", 3)
	f.put(f.api, &thing{Name: "x", Value: 1, Tags: []string{"red"}})
	expect("edited", "true", 3, "[x1]", 3, "[a/x a/y]", 3)
	f.put(f.api, &thing{Name: "w", Tags: []string{"red"}}, &thing{Name: "z", Tags: []string{"red"}})
	expect("two more, in order", "true", 3, "[w0 x1 z0]", 4, "[a/w a/x a/y a/z]", 4)
	f.put(f.api, &thing{Name: "x", Value: 1})
	expect("loses its tag", "true", 4, "[w0 z0]", 5, "[a/w a/x a/y a/z]", 4)
	f.del(f.api, "x")
	expect("goes", "false", 5, "[w0 z0]", 5, "[a/w a/y a/z]", 5)
	f.del(f.api, "x")
	expect("again", "false", 5, "[w0 z0]", 5, "[a/w a/y a/z]", 5)
}

// A list that was handed out never changes.
func TestListsAreLent(t *testing.T) {
	f := newFixture()
	lists := derive.Define(f.db, "lists", nil, func(r *derive.Reader, tag string) []*thing { return f.byTag.List(r, tag) })
	f.put(f.api, &thing{Name: "b", Tags: []string{"t"}}, &thing{Name: "d", Tags: []string{"t"}})
	before := lists.Read("t")
	f.put(f.api, &thing{Name: "a", Tags: []string{"t"}}, &thing{Name: "c", Tags: []string{"t"}}, &thing{Name: "d", Value: 5, Tags: []string{"t"}})
	f.del(f.api, "b")
	same(t, "before", names(before), []string{"b0", "d0"})
	same(t, "after", names(lists.Read("t")), []string{"a0", "c0", "d5"})
}

func TestIndexOverRowsThatAreThere(t *testing.T) {
	f := newFixture()
	f.put(f.api, &thing{Name: "b", Value: 1}, &thing{Name: "a", Value: 1}, &thing{Name: "c", Value: 2})
	byValue := store.NewIndex(f.things, "value", func(x *thing) []int { return []int{x.Value} })
	list := derive.Define(f.db, "list", nil, func(r *derive.Reader, v int) []string { return names(byValue.List(r, v)) })
	same(t, "taken in", list.Read(1), []string{"a1", "b1"})
	f.put(f.api, &thing{Name: "a", Value: 2})
	same(t, "kept", list.Read(2), []string{"a2", "c2"})
}

func TestFamiliesOverIndexKeys(t *testing.T) {
	f := newFixture()
	count := derive.Define(f.db, "count", derive.Equal[int], func(r *derive.Reader, tag string) int { return len(f.byTag.List(r, tag)) })
	fam := derive.Each(count, f.byTag.KeySet())
	feed, view := f.db.NewFeed(), map[string]int{}
	fam.Follow(feed, func(d derive.Delta[string, int]) {
		if view[d.Key] = d.Value; d.Gone {
			delete(view, d.Key)
		}
	})
	expect := func(want map[string]int) {
		t.Helper()
		feed.Drain()
		same(t, "tags", view, want)
	}
	f.put(f.api, &thing{Name: "a", Tags: []string{"x", "y"}}, &thing{Name: "b", Tags: []string{"y"}})
	expect(map[string]int{"x": 1, "y": 2})
	f.put(f.api, &thing{Name: "a", Tags: []string{"z"}})
	expect(map[string]int{"z": 1, "y": 1})
	f.del(f.api, "b")
	expect(map[string]int{"z": 1})
}

func TestSourcePrecedence(t *testing.T) {
	f := newFixture()
	shown := func(what string, want int, sources ...string) {
		t.Helper()
		got := -1
		if row := f.things.Peek(key("x")); row != nil {
			got = row.Value
		}
		same(t, what, got, want)
		same(t, what+": sources", f.things.Sources(key("x")), sources)
	}
	same(t, "new", f.put(f.folder, &thing{Name: "x", Value: 1}), true)
	shown("alone", 1, "folder")
	same(t, "preferred", f.put(f.api, &thing{Name: "x", Value: 2}), true)
	shown("in front", 2, "api", "folder")
	same(t, "behind", f.put(f.folder, &thing{Name: "x", Value: 3}), false)
	shown("behind", 2, "api", "folder")
	same(t, "goes", f.del(f.api, "x"), true)
	shown("the other shows", 3, "folder")
	same(t, "not its own", f.del(f.api, "x"), false)
	shown("still", 3, "folder")
	same(t, "says the same", f.put(f.api, &thing{Name: "x", Value: 3}), false)
	shown("both", 3, "api", "folder")
	same(t, "hidden goes", f.del(f.folder, "x"), false)
	shown("one", 3, "api")
	same(t, "last", f.del(f.api, "x"), true)
	shown("none", -1)
}

func TestReplace(t *testing.T) {
	f := newFixture()
	f.put(f.folder, &thing{Name: "a", Value: 1}, &thing{Name: "b", Value: 1}, &thing{Name: "f", Value: 1})
	f.put(f.api, &thing{Name: "b", Value: 2}, &thing{Name: "c", Value: 2}, &thing{Name: "d", Value: 2})
	f.folder.Commit(func(tx *store.Tx) {
		f.things.Replace(tx, slices.Values([]*thing{{Name: "a", Value: 1}, {Name: "e", Value: 1}}))
	})
	same(t, "folder", names(f.things.Snapshot()), []string{"a1", "b2", "c2", "d2", "e1"})
	f.api.Commit(func(tx *store.Tx) { f.things.Replace(tx, slices.Values([]*thing{{Name: "c", Value: 3}})) })
	same(t, "api; what the folder held behind b is gone", names(f.things.Snapshot()), []string{"a1", "c3", "e1"})
	same(t, "rows", f.things.Len(), 3)
}

func TestMisuse(t *testing.T) {
	f, other := newFixture(), newFixture()
	var kept *store.Tx
	f.api.Commit(func(tx *store.Tx) { kept = tx })
	for what, do := range map[string]func(){
		"after its commit":                   func() { f.things.Put(kept, &thing{Name: "x"}) },
		"delete of nothing after its commit": func() { f.things.Delete(kept, key("x")) },
		"another store":                      func() { f.api.Commit(func(tx *store.Tx) { other.things.Put(tx, &thing{Name: "x"}) }) },
		"kind twice":                         func() { store.NewTable(f.Store, "Thing", func(x *thing) store.Key { return key(x.Name) }, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: went through", what)
				}
			}()
			do()
		}()
	}
	same(t, "nothing changed", f.things.Len()+other.things.Len(), 0)
}

func TestKey(t *testing.T) {
	for _, c := range []struct {
		text string
		key  store.Key
		bad  bool
	}{
		{text: "shop/web", key: store.Key{Namespace: "shop", Name: "web"}},
		{text: "n1", key: store.Key{Name: "n1"}},
		{text: "", bad: true},
		{text: "/web", bad: true},
		{text: "shop/", bad: true},
		{text: "a/b/c", bad: true},
	} {
		k, err := store.ParseKey(c.text)
		if (err != nil) != c.bad || k != c.key {
			t.Errorf("%q: %v, %v", c.text, k, err)
		}
		if err == nil && k.String() != c.text {
			t.Errorf("%q came back as %q", c.text, k)
		}
	}
}

// TestRandomCommits compares tables and indexes with the plainest way to have them, under random commits of three sources.
func TestRandomCommits(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := newFixture()
		sources := []*store.Source{f.api, f.folder, f.Source("third")}
		held := make([]map[string]*thing, len(sources))
		for i := range held {
			held[i] = map[string]*thing{}
		}
		tags := []string{"p", "q", "r"}
		list := derive.Define(f.db, "list", nil, func(r *derive.Reader, tag string) []string { return names(f.byTag.List(r, tag)) })
		row := derive.Define(f.db, "row", derive.Equal[string], func(r *derive.Reader, k store.Key) string {
			x := f.things.Get(r, k)
			return fmt.Sprint(x.Name, x.Value, x.Tags)
		})
		feed, view := f.db.NewFeed(), map[string]string{}
		derive.Each(row, f.things.KeySet()).Follow(feed, func(d derive.Delta[store.Key, string]) {
			if view[d.Key.Name] = d.Value; d.Gone {
				delete(view, d.Key.Name)
			}
		})
		random := func() *thing {
			x := &thing{Name: string(rune('a' + r.IntN(6))), Value: r.IntN(3)}
			for _, tag := range tags {
				if r.IntN(2) == 0 {
					x.Tags = append(x.Tags, tag)
				}
			}
			return x
		}
		for step := range 40 {
			i := r.IntN(len(sources))
			sources[i].Commit(func(tx *store.Tx) {
				if r.IntN(8) == 0 {
					clear(held[i])
					var rows []*thing
					for range r.IntN(4) {
						x := random()
						rows, held[i][x.Name] = append(rows, x), x
					}
					f.things.Replace(tx, slices.Values(rows))
					return
				}
				for range 1 + r.IntN(3) {
					x := random()
					if r.IntN(3) == 0 {
						f.things.Delete(tx, key(x.Name))
						delete(held[i], x.Name)
						continue
					}
					f.things.Put(tx, x)
					held[i][x.Name] = x
				}
			})
			want := map[string]*thing{}
			for _, h := range slices.Backward(held) {
				maps.Copy(want, h)
			}
			wantView, wantLists := map[string]string{}, map[string][]string{}
			for _, name := range slices.Sorted(maps.Keys(want)) {
				x := want[name]
				wantView[name] = fmt.Sprint(x.Name, x.Value, x.Tags)
				for _, tag := range x.Tags {
					wantLists[tag] = append(wantLists[tag], fmt.Sprint(x.Name, x.Value))
				}
			}
			feed.Drain()
			same(t, fmt.Sprint("seed ", seed, " step ", step), view, wantView)
			for _, tag := range tags {
				same(t, fmt.Sprint("seed ", seed, " step ", step, " ", tag), list.Read(tag), wantLists[tag])
			}
			if t.Failed() {
				return
			}
		}
	}
}
