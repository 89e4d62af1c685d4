package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// add appends results to the account, a line of JSON each. An empty name keeps none.
func add(account string, results []result) (err error) {
	if account == "" {
		return nil
	}
	f, err := os.OpenFile(account, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for _, r := range results {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return w.Flush()
}

// printSum prints the skipped tests with their reasons, and the totals. Subtests count as tests.
func printSum(w io.Writer, account string) error {
	f, err := os.Open(account)
	if err != nil {
		return err
	}
	defer f.Close()
	count := map[string]int{}
	var skipped []result
	for dec := json.NewDecoder(f); ; {
		var r result
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("%s: %w", account, err)
		}
		count[r.Outcome]++
		if r.Outcome == "skip" {
			skipped = append(skipped, r)
		}
	}
	if len(skipped) > 0 {
		fmt.Fprintln(w, "skipped:")
		slices.SortFunc(skipped, func(a, b result) int { return strings.Compare(a.Package+" "+a.Test, b.Package+" "+b.Test) })
		for _, r := range skipped {
			fmt.Fprintf(w, "  %s %s: %s\n", r.Package, r.Test, r.Reason)
		}
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	if count["pass"]+count["fail"] == 0 {
		return errors.New("no test was run")
	}
	return nil
}
