package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// spec is what became of one spec.
type spec struct {
	name    string
	state   string // in Ginkgo's words: passed, skipped, failed, timedout, ...
	message string // what it said when it failed or skipped itself
}

var suitePrefix = regexp.MustCompile(`^` + suite + `\s*`)

// report is what is wanted of Ginkgo's report.
type report struct {
	specs []spec // in the order of their names
	took  time.Duration
	procs int // how many specs ran at a time
}

// readReport takes the specs of the suite from Ginkgo's JSON report.
func readReport(file string) (*report, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var suites []struct {
		RunTime     time.Duration
		SuiteConfig struct{ ParallelTotal int }
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeType            string
			LeafNodeText            string
			State                   string
			Failure                 struct{ Message string }
		}
	}
	if err := json.Unmarshal(text, &suites); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	out := &report{}
	for _, s := range suites {
		out.took, out.procs = out.took+s.RunTime, s.SuiteConfig.ParallelTotal
		for _, r := range s.SpecReports {
			name := strings.Join(append(r.ContainerHierarchyTexts, r.LeafNodeText), " ")
			if r.LeafNodeType != "It" {
				if r.State != "passed" {
					return nil, fmt.Errorf("%s of the suite %s: %s", r.LeafNodeType, r.State, r.Failure.Message)
				}
				continue
			}
			if suitePrefix.MatchString(name) {
				out.specs = append(out.specs, spec{suitePrefix.ReplaceAllString(strings.TrimSpace(name), ""), r.State, r.Failure.Message})
			}
		}
	}
	slices.SortFunc(out.specs, func(a, b spec) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// verdict is a spec with the reason for what became of it.
type verdict struct {
	spec
	reason string // empty if it passed, or failed for no reason known
}

// results is the account of a run.
type results struct {
	passed, failed, skipped []verdict
	took                    time.Duration
	procs                   int
}

// judge finds the reason for each spec that did not pass.
func judge(run *report) *results {
	r := &results{took: run.took, procs: run.procs}
	for _, s := range run.specs {
		v := verdict{spec: s}
		switch {
		case s.state == "passed":
			r.passed = append(r.passed, v)
		case s.state == "skipped" || s.state == "pending":
			var ok bool
			if v.reason, ok = reasonIn(leftOut, s.name); !ok {
				v.reason = "not asked for"
				if s.message != "" {
					v.reason = "skips itself: " + firstLine(s.message)
				}
			}
			r.skipped = append(r.skipped, v)
		default:
			v.reason, _ = reasonIn(known, s.name)
			r.failed = append(r.failed, v)
		}
	}
	return r
}

// unexplained lists the specs that failed for no reason known.
func (r *results) unexplained() []verdict {
	return slices.DeleteFunc(slices.Clone(r.failed), func(v verdict) bool { return v.reason != "" })
}

// surprises lists the specs that passed though they are known to fail.
func (r *results) surprises() []verdict {
	return slices.DeleteFunc(slices.Clone(r.passed), func(v verdict) bool { _, is := reasonIn(known, v.name); return !is })
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// summary is the account for a terminal.
func (r *results) summary() string {
	var b strings.Builder
	for _, v := range r.failed {
		fmt.Fprintf(&b, "FAIL  %s\n      %s\n", v.name, orUnknown(v.reason))
		if v.reason == "" {
			fmt.Fprintf(&b, "      %s\n", firstLine(v.message))
		}
	}
	for _, v := range r.surprises() {
		fmt.Fprintf(&b, "PASS, though specs.go knows why it would not: %s\n", v.name)
	}
	b.WriteString(r.totals())
	return b.String()
}

// totals counts in lines of text that are a Markdown table, too.
func (r *results) totals() string {
	count := func(list []verdict, conformance bool) (n int) {
		for _, v := range list {
			if isConformance(v.name) == conformance {
				n++
			}
		}
		return n
	}
	var b strings.Builder
	b.WriteString("| specs | passed | failed | not run |\n|---|---:|---:|---:|\n")
	for _, row := range []struct {
		name        string
		conformance bool
	}{{"conformance", true}, {"others", false}} {
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", row.name, count(r.passed, row.conformance), count(r.failed, row.conformance), count(r.skipped, row.conformance))
	}
	return b.String()
}

func orUnknown(reason string) string {
	if reason == "" {
		return "not known yet"
	}
	return reason
}
