package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Between these lines of the page stands what a run found.
const (
	pageBegin = "<!-- What follows is written by the command; do not edit. -->"
	pageEnd   = "<!-- Here what is written by the command ends. -->"
)

// writePage replaces what the last run found, and leaves the rest of the page as it is.
func (r *results) writePage(file, version string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(text), pageBegin)
	_, after, ok2 := strings.Cut(rest, pageEnd)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q, between which to write", file, pageBegin, pageEnd)
	}
	return os.WriteFile(file, []byte(before+pageBegin+"\n\n"+r.markdown(version)+"\n"+pageEnd+after), 0o644)
}

// markdown is the account for the page. It holds no day and no seconds, so that it changes only if something did.
func (r *results) markdown(version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Kubernetes %s, the suite `[sig-network]`; the specs took about %d minutes, %d at a time.\n\n", version, int(r.took.Round(time.Minute)/time.Minute), r.procs)
	b.WriteString(r.totals())

	b.WriteString("\n### What fails\n\n")
	if len(r.failed) == 0 {
		b.WriteString("Nothing.\n")
	} else {
		b.WriteString("| spec | why |\n|---|---|\n")
		for _, v := range r.failed {
			fmt.Fprintf(&b, "| %s | %s |\n", cell(v.name), cell(orUnknown(v.reason)))
		}
	}

	b.WriteString("\n### What is not run\n\n")
	var reasons []string
	by := map[string][]string{}
	for _, v := range r.skipped {
		if by[v.reason] == nil {
			reasons = append(reasons, v.reason)
		}
		by[v.reason] = append(by[v.reason], v.name)
	}
	slices.SortFunc(reasons, func(a, b string) int {
		if d := len(by[b]) - len(by[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, reason := range reasons {
		fmt.Fprintf(&b, "- **%s** (%d)\n", escape(reason), len(by[reason]))
		for _, name := range by[reason] {
			fmt.Fprintf(&b, "  - %s\n", escape(name))
		}
	}

	b.WriteString("\n### What passes\n\n")
	for _, v := range r.passed {
		fmt.Fprintf(&b, "- %s\n", escape(v.name))
	}
	return b.String()
}

// escape keeps Markdown from reading signs in names.
func escape(s string) string {
	return strings.NewReplacer("[", `\[`, "]", `\]`, "<", `\<`, "*", `\*`, "_", `\_`).Replace(s)
}

func cell(s string) string { return strings.ReplaceAll(escape(s), "|", `\|`) }
