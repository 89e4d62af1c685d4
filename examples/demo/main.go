// Command demo tries every way to reach the example Services in a lab that is up, and prints what answered.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/weftmesh/weft/test/demo"
	"github.com/weftmesh/weft/test/lab"
)

func main() {
	name := flag.String("name", "lab", "name of the lab")
	namespace := flag.String("namespace", "default", "namespace that the examples are in")
	certificate := flag.Bool("certificate", false, "only make the certificate that the examples use")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *name, *namespace, *certificate); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name, namespace string, certificate bool) error {
	l, err := lab.Open(ctx, name)
	if err != nil {
		return err
	}
	if certificate {
		return demo.Certificate(ctx, l)
	}
	tries, err := demo.Services(ctx, l, namespace)
	if err != nil {
		return err
	}
	edge, err := demo.Edge(ctx, l)
	if err != nil {
		return err
	}
	shop, err := demo.Bookshop(ctx, l)
	if err != nil {
		return err
	}
	tries = slices.Concat(tries, edge, shop)
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tFROM\tTRIED\tANSWERED")
	bad := 0
	for _, t := range tries {
		o := t.Make(ctx, l)
		result := summary(o)
		if o.Err != nil {
			bad++
			result = "NOT AS IT SHOULD BE: " + o.Err.Error()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.What, from(t.From), strings.Join(t.Args, " "), result)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d tries went wrong", bad, len(tries))
	}
	return nil
}

func from(p lab.Place) string {
	kind, rest, _ := strings.Cut(string(p), "/")
	switch kind {
	case "pod":
		return "Pod " + rest
	case "workload":
		return rest
	}
	return string(p)
}

// summary says who answered how often, or what the answers were.
func summary(o demo.Outcome) string {
	if o.Args[1] == "lookup" {
		return strings.Join(slices.Sorted(maps.Keys(o.Answers)), ", ")
	}
	if o.Args[0] == "bookshop" {
		return whole(o.Answers)
	}
	names := o.Answers.Names()
	var out []string
	for _, n := range slices.Sorted(maps.Keys(names)) {
		if n == "error" {
			out = append(out, "refused")
			continue
		}
		out = append(out, fmt.Sprintf("%s %d", n[max(0, len(n)-5):], names[n]))
	}
	return strings.Join(out, ", ")
}

// whole shows answers as they are, with how often each came.
func whole(answers demo.Answers) string {
	var out []string
	for _, a := range slices.Sorted(maps.Keys(answers)) {
		n := answers[a]
		if strings.HasPrefix(a, "error:") {
			a = "no answer: " + a[strings.LastIndex(a, ": ")+2:]
		}
		out = append(out, fmt.Sprintf("%d times %s", n, a))
	}
	return strings.Join(out, "; ")
}
