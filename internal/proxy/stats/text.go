package stats

import (
	"strconv"
)

// Text is series in Prometheus' text format. Series of one name are added one after the other.
type Text struct {
	buf  []byte
	last string // the name that was described last
}

// Counter adds a counter's value.
func (t *Text) Counter(name, help string, v uint64, labels ...Label) {
	t.describe(name, help, "counter")
	t.head(name, "", labels)
	t.buf = strconv.AppendUint(t.buf, v, 10)
	t.buf = append(t.buf, '\n')
}

// Gauge adds a gauge's value.
func (t *Text) Gauge(name, help string, v int64, labels ...Label) {
	t.describe(name, help, "gauge")
	t.head(name, "", labels)
	t.buf = strconv.AppendInt(t.buf, v, 10)
	t.buf = append(t.buf, '\n')
}

// histogram adds a histogram: how many were at most each bound, and above all of them; the labels come rendered.
func (t *Text) histogram(name, help, labels string, bounds []float64, counts []uint64, sum float64) {
	t.describe(name, help, "histogram")
	var total uint64
	for i, n := range counts {
		total += n
		t.buf = append(t.buf, name...)
		t.buf = append(t.buf, "_bucket{"...)
		t.buf = append(t.buf, labels...)
		t.buf = append(t.buf, `,le="`...)
		if i < len(bounds) {
			t.buf = strconv.AppendFloat(t.buf, bounds[i], 'g', -1, 64)
		} else {
			t.buf = append(t.buf, "+Inf"...)
		}
		t.buf = append(t.buf, `"} `...)
		t.buf = strconv.AppendUint(t.buf, total, 10)
		t.buf = append(t.buf, '\n')
	}
	t.rendered(name+"_sum", labels)
	t.buf = strconv.AppendFloat(t.buf, sum, 'g', -1, 64)
	t.buf = append(t.buf, '\n')
	t.rendered(name+"_count", labels)
	t.buf = strconv.AppendUint(t.buf, total, 10)
	t.buf = append(t.buf, '\n')
}

func (t *Text) describe(name, help, kind string) {
	if t.last == name {
		return
	}
	t.last = name
	if help != "" {
		t.buf = append(t.buf, "# HELP "...)
		t.buf = append(t.buf, name...)
		t.buf = append(t.buf, ' ')
		t.buf = append(t.buf, help...)
		t.buf = append(t.buf, '\n')
	}
	t.buf = append(t.buf, "# TYPE "...)
	t.buf = append(t.buf, name...)
	t.buf = append(t.buf, ' ')
	t.buf = append(t.buf, kind...)
	t.buf = append(t.buf, '\n')
}

func (t *Text) head(name, suffix string, labels []Label) {
	t.buf = append(append(t.buf, name...), suffix...)
	if len(labels) > 0 {
		t.buf = append(t.buf, '{')
		t.buf = appendLabels(t.buf, labels)
		t.buf = append(t.buf, '}')
	}
	t.buf = append(t.buf, ' ')
}

func (t *Text) rendered(name, labels string) {
	t.buf = append(t.buf, name...)
	t.buf = append(t.buf, '{')
	t.buf = append(t.buf, labels...)
	t.buf = append(t.buf, "} "...)
}

func appendLabels(dst []byte, labels []Label) []byte {
	for i, l := range labels {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, l.Name...)
		dst = append(dst, `="`...)
		for j := range len(l.Value) {
			switch c := l.Value[j]; c {
			case '\\', '"':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			default:
				dst = append(dst, c)
			}
		}
		dst = append(dst, '"')
	}
	return dst
}
