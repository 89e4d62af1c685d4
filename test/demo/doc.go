// Package demo is what the demo tries and what it expects: one row a way to reach a Service, asked from where a user would ask. The demo
// prints the rows; the end-to-end tests assert them.
package demo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/test/lab"
)

// Try is one row: a command of a client, from somewhere, and what must come of it.
type Try struct {
	What string    // "ClusterIP"
	From lab.Place // where the command runs
	Args []string  // a program of the examples and its arguments
	Want func(Answers) error
}

// Answers is what the client printed: how often each distinct answer came.
type Answers map[string]int

// Outcome is a Try that was made.
type Outcome struct {
	Try
	Answers Answers
	Err     error // why it is not what was wanted
}

// Make runs the command and judges it. A client that fails is judged too: some tries want that.
func (t Try) Make(ctx context.Context, l *lab.Lab) Outcome {
	out, err := l.Exec(ctx, t.From, t.Args[0], t.Args[1:]...)
	o := Outcome{Try: t, Answers: parse(out)}
	var failed *lab.Failed
	if err != nil && !errors.As(err, &failed) {
		o.Err = err
		return o
	}
	if o.Err = t.Want(o.Answers); o.Err != nil && failed != nil {
		o.Err = fmt.Errorf("%w: %w", o.Err, failed)
	}
	return o
}

// parse reads "COUNT ANSWER" lines; a line without a count is an answer that came once.
func parse(out string) Answers {
	a := Answers{}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		count, rest, _ := strings.Cut(line, " ")
		if n, err := strconv.Atoi(count); err == nil && rest != "" {
			a[rest] += n
		} else if line != "" {
			a[line]++
		}
	}
	return a
}

// Names counts the answers per server: "200 nginx-abc 10.244.1.2" is one of nginx-abc.
func (a Answers) Names() map[string]int {
	out := map[string]int{}
	for answer, n := range a {
		f := strings.Fields(answer)
		switch {
		case strings.HasPrefix(answer, "error:"):
			out["error"] += n
		case len(f) >= 2 && len(f[0]) == 3:
			out[f[1]] += n
		case len(f) >= 1:
			out[f[0]] += n
		}
	}
	return out
}

// Failed is how many requests failed.
func (a Answers) Failed() (n int) {
	for answer, k := range a {
		if strings.HasPrefix(answer, "error:") {
			n += k
		}
	}
	return n
}

// Spread wants that nothing failed and that this many servers answered, each at least once.
func Spread(servers int) func(Answers) error {
	return func(a Answers) error {
		names := a.Names()
		if a.Failed() > 0 || len(names) != servers {
			return fmt.Errorf("want answers of %d servers and no error, got %v", servers, names)
		}
		return nil
	}
}

// Lines wants that these are the answers, in any order.
func Lines(want ...string) func(Answers) error {
	return func(a Answers) error {
		for _, w := range want {
			if a[w] == 0 {
				return fmt.Errorf("want %q, got %v", w, a)
			}
		}
		if len(a) != len(want) {
			return fmt.Errorf("want only %q, got %v", want, a)
		}
		return nil
	}
}

// Count wants that many distinct answers and no error.
func Count(n int) func(Answers) error {
	return func(a Answers) error {
		if a.Failed() > 0 || len(a) != n {
			return fmt.Errorf("want %d answers and no error, got %v", n, a)
		}
		return nil
	}
}

// Refused wants that every request is refused.
func Refused(a Answers) error {
	for answer := range a {
		if !strings.Contains(answer, "connection refused") {
			return fmt.Errorf("want connection refused, got %v", a)
		}
	}
	if len(a) == 0 {
		return errors.New("want connection refused, got nothing")
	}
	return nil
}
