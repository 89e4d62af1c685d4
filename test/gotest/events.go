package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// event is a line of `go test -json` (`go doc test2json`).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// result is what became of one test or subtest.
type result struct {
	Package string `json:"package"`
	Test    string `json:"test"`
	Outcome string `json:"outcome"` // pass, fail or skip, in the words of test2json
	Reason  string `json:"reason,omitempty"`
}

type testKey struct{ pkg, test string }

// follow reads the events of one run, prints to w what a person wants to see, and gives the result of each test. Output of a test is held
// back until it is known whether it failed; that of a test still running at the end (a panic, a deadline) is printed then.
func follow(events io.Reader, w io.Writer, verbose bool) (results []result, err error) {
	held := map[testKey][]string{}
	var order []testKey
	flush := func(k testKey) {
		for _, line := range held[k] {
			if !isFraming(line) {
				fmt.Fprint(w, line)
			}
		}
		delete(held, k)
	}
	dec := json.NewDecoder(events)
	for {
		var e event
		if err = dec.Decode(&e); err != nil {
			break
		}
		k := testKey{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "output":
			if e.Test == "" {
				if line := e.Output; line != "PASS\n" && !strings.HasSuffix(line, "[no test files]\n") {
					fmt.Fprint(w, line)
				}
				continue
			}
			if _, has := held[k]; !has {
				order = append(order, k)
			}
			held[k] = append(held[k], e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" {
				continue
			}
			r := result{Package: e.Package, Test: e.Test, Outcome: e.Action}
			if e.Action == "skip" {
				r.Reason = reason(held[k])
			}
			results = append(results, r)
			switch {
			case e.Action == "fail":
				fmt.Fprintf(w, "--- FAIL: %s\n", e.Test)
				flush(k)
			case verbose:
				fmt.Fprintf(w, "--- %s: %s\n", strings.ToUpper(e.Action), e.Test)
				flush(k)
			}
			delete(held, k)
		}
	}
	for _, k := range order {
		flush(k)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return results, err
}

// isFraming tells lines that `go test -v` puts around a test's own output.
func isFraming(line string) bool {
	line = strings.TrimLeft(line, " ")
	for _, prefix := range [...]string{"=== ", "--- PASS", "--- FAIL", "--- SKIP"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return false
}

// reason finds what a test said when it skipped: its last line, without file and line number.
func reason(output []string) string {
	said := ""
	for _, line := range output {
		if !isFraming(line) && strings.TrimSpace(line) != "" {
			said = strings.TrimSpace(line)
		}
	}
	if file, rest, ok := strings.Cut(said, ": "); ok && strings.Contains(file, ".go:") {
		said = rest
	}
	if said == "" {
		return "no reason given"
	}
	return said
}
