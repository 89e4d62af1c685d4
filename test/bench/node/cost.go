package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// cost is what an event took: time on the clock, and processor time. The kernel divides processor time into user and system by where its ticks
// fall, so that division needs many events to mean something; the whole is exact.
type cost struct {
	wall, cpu    time.Duration
	user, system time.Duration // of cpu, in proportion
}

func (c cost) plus(o cost) cost {
	return cost{c.wall + o.wall, c.cpu + o.cpu, c.user + o.user, c.system + o.system}
}

func (c cost) minus(o cost) cost {
	return cost{c.wall - o.wall, c.cpu - o.cpu, c.user - o.user, c.system - o.system}
}

func (c cost) per(n int) cost {
	d := time.Duration(n)
	return cost{c.wall / d, c.cpu / d, c.user / d, c.system / d}
}

// ownCPU is what this process has spent.
func ownCPU() cost {
	var u unix.Rusage
	var t unix.Timespec
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil || unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) != nil {
		return cost{}
	}
	return cost{cpu: time.Duration(t.Nano()), user: time.Duration(u.Utime.Nano()), system: time.Duration(u.Stime.Nano())}
}

// measure runs f and gives its cost to this process.
func measure(f func() error) (cost, error) {
	before, start := ownCPU(), time.Now()
	err := f()
	c := ownCPU().minus(before)
	c.wall = time.Since(start)
	return c, err
}

// table collects costs by event and carrier, in the order in which they first came.
type table struct {
	title    string
	events   []string
	carriers []string
	costs    map[[2]string][]cost
	memory   map[string]map[string][]float64 // MiB, by carrier: at the end of a round, at most
}

func newTable(title string) *table {
	return &table{title: title, costs: map[[2]string][]cost{}, memory: map[string]map[string][]float64{}}
}

func (t *table) add(event, carrier string, c cost) {
	if !slices.Contains(t.events, event) {
		t.events = append(t.events, event)
	}
	if !slices.Contains(t.carriers, carrier) {
		t.carriers = append(t.carriers, carrier)
	}
	k := [2]string{event, carrier}
	t.costs[k] = append(t.costs[k], c)
}

// remember notes how much memory a carrier held at the end of a round, if it was still there (not 0), and at most.
func (t *table) remember(carrier string, end, most int64) {
	if t.memory[carrier] == nil {
		t.memory[carrier] = map[string][]float64{}
	}
	for when, bytes := range map[string]int64{"at the end": end, "at most": most} {
		if bytes > 0 {
			t.memory[carrier][when] = append(t.memory[carrier][when], float64(bytes)/(1<<20))
		}
	}
}

// print writes medians, and ratios to the first carrier.
func (t *table) print(out io.Writer) {
	if len(t.events) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s\n", t.title)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "event\tcarrier\ttime\t(least to most)\tratio\tCPU\tratio\tin the kernel\trounds")
	for _, e := range t.events {
		first := t.costs[[2]string{e, t.carriers[0]}]
		for _, c := range t.carriers {
			all := t.costs[[2]string{e, c}]
			if len(all) == 0 {
				continue
			}
			wall, cpu := column(all, func(c cost) time.Duration { return c.wall }), column(all, func(c cost) time.Duration { return c.cpu })
			fmt.Fprintf(w, "%s\t%s\t%s\t%s–%s\t%s\t%s\t%s\t%s\t%d\n", e, c,
				short(median(wall)), short(slices.Min(wall)), short(slices.Max(wall)), ratio(median(wall), median(column(first, func(c cost) time.Duration { return c.wall }))),
				short(median(cpu)), ratio(median(cpu), median(column(first, func(c cost) time.Duration { return c.cpu }))), inKernel(all), len(all))
		}
	}
	w.Flush()
	for _, c := range t.carriers {
		for _, when := range []string{"at the end", "at most"} {
			if m := t.memory[c][when]; len(m) > 0 {
				fmt.Fprintf(out, "resident memory of %s %s: %.0f MiB\n", c, when, median(m))
			}
		}
	}
}

func column(all []cost, of func(cost) time.Duration) (out []time.Duration) {
	for _, c := range all {
		out = append(out, of(c))
	}
	return out
}

// inKernel is the share of processor time that the kernel spent, of all rounds together.
func inKernel(all []cost) string {
	var sum cost
	for _, c := range all {
		sum = sum.plus(c)
	}
	if sum.user+sum.system <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(sum.system)/float64(sum.user+sum.system))
}

func median[T time.Duration | float64](v []T) T {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func ratio(a, b time.Duration) string {
	if a == 0 || b == 0 {
		return "-"
	}
	return fmt.Sprintf("×%.3g", float64(a)/float64(b))
}

// short gives three significant digits, "-" for nothing.
func short(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
