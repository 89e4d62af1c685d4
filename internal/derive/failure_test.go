package derive_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
)

// A panicking query costs its own result, says so, and is tried again when something that it read changes.
func TestPanickingQuery(t *testing.T) {
	var logged bytes.Buffer
	db := derive.New(slog.New(slog.NewTextHandler(&logged, nil)))
	base := newTable(db, "base")
	var deep *derive.Query[string, []int]
	deep = derive.Define(db, "deep", nil, func(r *derive.Reader, k string) []int {
		v, _ := base.get(r, k)
		r.Report(finding.Finding{Object: finding.Object{Kind: "Base", Name: k}, Code: "seen"})
		return []int{10 / v}
	})
	top := derive.Define(db, "top", derive.Equal[int], func(r *derive.Reader, k string) int { return len(deep.Get(r, k)) })
	base.set("a", 1, "b", 5)
	fam := derive.Each(top, base.keys)
	f, l := db.NewFeed(), log{}
	fam.Follow(f, add[int](&l))
	l.take(f)

	base.set("a", 0, "b", 2)
	same(t, "only that one", l.take(f), []string{"a=0"})
	fs := db.AllFindings()
	same(t, "findings", fs, []finding.Finding{
		{Object: finding.Object{Kind: "Base", Name: "b"}, Code: "seen"},
		{Object: finding.Object{Kind: derive.KindQuery, Name: "deep[a]"}, Severity: finding.Error, Code: derive.CodePanic,
			Message: "panicked: runtime error: integer divide by zero; its result is empty until something that it read changes"},
	})
	if s := logged.String(); !strings.Contains(s, "deep[a]") || strings.Count(s, "query panicked") != 1 {
		t.Error(s)
	}
	x, _ := db.Explain("deep", "a")
	if !strings.Contains(x.Panic, "failure_test.go") {
		t.Errorf("no stack: %q", x.Panic)
	}
	base.set("a", 0)
	same(t, "tried again", l.take(f), []string(nil))
	base.set("a", 2)
	same(t, "recovers", l.take(f), []string{"a=1"})
	same(t, "findings", len(db.AllFindings()), 2)
}

func TestPanickingEquality(t *testing.T) {
	db := derive.New(nil)
	base := newTable(db, "base")
	q := derive.Define(db, "q", func(a, b *int) bool { return *a == *b }, func(r *derive.Reader, k string) *int {
		if v, ok := base.get(r, k); ok {
			return &v
		}
		return nil
	})
	base.set("a", 1)
	same(t, "first", *q.Read("a"), 1)
	db.Commit(func(tx *derive.Tx) { base.del(tx, "a") })
	if q.Read("a") != nil || len(db.AllFindings()) != 1 {
		t.Error("the equality does not take nil, and nobody said so")
	}
	base.set("a", 2)
	same(t, "recovers", *q.Read("a"), 2)
	same(t, "findings", db.AllFindings(), []finding.Finding(nil))
}

func TestTooDeep(t *testing.T) {
	db := derive.New(nil)
	var q *derive.Query[int, int]
	q = derive.Define(db, "q", derive.Equal[int], func(r *derive.Reader, n int) int { return 1 + q.Get(r, n+1) })
	same(t, "ends", q.Read(0) > 0, true)
	same(t, "findings", len(db.AllFindings()), 1)
}

func TestFollowFindings(t *testing.T) {
	db := derive.New(nil)
	base := newTable(db, "base")
	object := func(k string) finding.Object { return finding.Object{Kind: "Base", Name: k} }
	report := func(name string, from int) *derive.Query[string, int] {
		return derive.Define(db, name, derive.Equal[int], func(r *derive.Reader, k string) int {
			v, _ := base.get(r, k)
			if v >= from {
				r.Report(finding.Finding{Object: object(k), Severity: finding.Error, Code: "large", Message: fmt.Sprint("over ", from)})
				r.Report(finding.Finding{Object: object(k), Code: "number"})
			}
			return 0
		})
	}
	ten, twenty := report("ten", 10), report("twenty", 20)
	derive.Each(ten, base.keys)
	derive.Each(twenty, base.keys)
	f := db.NewFeed()
	var got []string
	stop := db.FollowFindings(f, func(d derive.Delta[finding.Object, []finding.Finding]) {
		got = append(got, fmt.Sprint(d.Key.Name, d.Value, d.Gone, d.Rev == db.Rev()))
	})
	expect := func(what string, want ...string) {
		t.Helper()
		got = nil
		f.Drain()
		same(t, what, got, want)
	}
	base.set("a", 1, "b", 12)
	expect("one", "b[error Base b: over 10 (large) info Base b:  (number)] false true")
	base.set("b", 13)
	expect("the same")
	base.set("b", 21)
	expect("two, and said once each", "b[error Base b: over 10 (large) error Base b: over 20 (large) info Base b:  (number)] false true")
	same(t, "of one", len(db.Findings(object("b"))), 3)
	base.set("b", 1)
	expect("none", "b[] true true")
	same(t, "of none", db.Findings(object("b")), []finding.Finding(nil))
	base.set("b", 30)
	db.Commit(func(tx *derive.Tx) { base.del(tx, "b") })
	expect("came and went")
	stop()
	base.set("a", 30)
	expect("stopped")
}

// Findings of a result that was only read once stay true without anyone reading it again, and go with it.
func TestFindingsOfUnfollowedResults(t *testing.T) {
	db := derive.New(nil)
	base := newTable(db, "base")
	q := derive.Define(db, "q", derive.Equal[int], func(r *derive.Reader, k string) int {
		v, _ := base.get(r, k)
		if v > 0 {
			r.Report(finding.Finding{Object: finding.Object{Kind: "Base", Name: k}, Message: fmt.Sprint(v)})
		}
		return 0
	})
	base.set("a", 1)
	q.Read("a")
	base.set("a", 2)
	same(t, "up to date", db.AllFindings()[0].Message, "2")
	db.Sweep(db.Rev() + 1)
	same(t, "swept", db.AllFindings(), []finding.Finding(nil))
}
