package derive

import (
	"fmt"
	"runtime/debug"

	"github.com/weftmesh/weft/internal/finding"
)

// CodePanic is the code of the finding for a result whose function panicked.
const CodePanic = "query-panic"

// KindQuery is the kind of object that findings about a query itself are on; its name is "query[key]".
const KindQuery = "Query"

// failure is a panic of a query's function or of its equality.
type failure struct {
	what  any
	stack string
}

// recovered turns a panic into a failure. A bug in one function costs the results it is asked for, not the engine.
func recovered(f **failure) {
	if x := recover(); x != nil {
		*f = &failure{x, string(debug.Stack())}
	}
}

func (e *entry[K, V]) onCycle() (v V, fs []finding.Finding, f *failure) {
	defer recovered(&f)
	v, fs = e.q.cycleValue(e.key)
	return v, fs, nil
}

func queryObject[K comparable](query string, k K) finding.Object {
	return finding.Object{Kind: KindQuery, Name: fmt.Sprintf("%s[%v]", query, k)}
}

// noteFailure makes a failed run's only finding the one that says so.
func (db *DB) noteFailure(n *node, f *failure, r *Reader) {
	if f == nil {
		delete(db.totals.failures, n)
		return
	}
	n.ev.tally().panics++
	if db.totals.failures == nil {
		db.totals.failures = map[*node]*failure{}
	}
	db.totals.failures[n] = f
	r.findings = append(r.findings[:0], finding.Finding{
		Object:   finding.Object{Kind: KindQuery, Name: n.describe()},
		Severity: finding.Error,
		Code:     CodePanic,
		Message:  fmt.Sprintf("panicked: %v; its result is empty until something that it read changes", f.what),
	})
	db.log.Error("query panicked", "query", n.describe(), "rev", uint64(db.rev), "panic", fmt.Sprint(f.what), "stack", f.stack)
}
