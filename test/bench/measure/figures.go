// Package measure is what benchmarks of programs share: programs on a processor of their own and what they cost, a server behind them, load, and medians.
//
// It knows nothing of what is measured, and prints nothing.
package measure

import (
	"fmt"
	"slices"
	"time"
)

// Median is the middle of the values; nil has none.
func Median[T time.Duration | float64](v []T) T {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Summary says the median, how many times another median it is, and the least and the most.
func Summary(v []float64, unit string, first float64) string {
	return fmt.Sprintf("%8.1f %s (×%.2f)  %.1f–%.1f", Median(v), unit, Median(v)/first, slices.Min(v), slices.Max(v))
}
