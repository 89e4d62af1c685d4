package format

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// timeLayout is a time in the way of strftime, with Envoy's additions for parts of a second.
type timeLayout []func(dst []byte, t time.Time) []byte

func (l timeLayout) append(dst []byte, t time.Time) []byte {
	for _, f := range l {
		dst = f(dst, t)
	}
	return dst
}

// newTimeLayout compiles %Y %m %d %H %M %S %T %F %s %f %1f to %9f %E3S %Z %z and literal text; nothing at all is RFC 3339 with milliseconds.
func newTimeLayout(spec string) (timeLayout, error) {
	if spec == "" {
		return timeLayout{usualTime}, nil
	}
	var l timeLayout
	for spec != "" {
		i := strings.IndexByte(spec, '%')
		if i < 0 {
			i = len(spec)
		}
		if i > 0 {
			lit := spec[:i]
			l = append(l, func(dst []byte, _ time.Time) []byte { return append(dst, lit...) })
			spec = spec[i:]
			continue
		}
		f, n := timeVerb(spec[1:])
		if f == nil {
			return nil, fmt.Errorf("%%START_TIME(%s)%%: this verb is not known", spec)
		}
		l, spec = append(l, f), spec[1+n:]
	}
	return l, nil
}

// usualTime is RFC 3339 with milliseconds. Package time has a quick way for that format, but not with milliseconds.
func usualTime(dst []byte, t time.Time) []byte {
	dst = t.AppendFormat(dst, time.RFC3339)
	return append(milliseconds(append(dst[:len(dst)-len("Z")], '.'), t), 'Z')
}

var milliseconds = fraction(3)

func timeVerb(s string) (f func([]byte, time.Time) []byte, n int) {
	layouts := map[string]string{
		"Y": "2006", "m": "01", "d": "02", "H": "15", "M": "04", "S": "05", "T": "15:04:05", "F": "2006-01-02", "b": "Jan", "Z": "MST", "z": "-0700",
		"E3S": "05.000", "E6S": "05.000000",
	}
	for _, n := range []int{3, 1} {
		if len(s) >= n && layouts[s[:n]] != "" {
			return goLayout(layouts[s[:n]]), n
		}
	}
	switch {
	case strings.HasPrefix(s, "s"):
		return func(dst []byte, t time.Time) []byte { return strconv.AppendInt(dst, t.Unix(), 10) }, 1
	case strings.HasPrefix(s, "f"):
		return fraction(9), 1
	case len(s) > 1 && s[1] == 'f' && '1' <= s[0] && s[0] <= '9':
		return fraction(int(s[0] - '0')), 2
	}
	return nil, 0
}

func goLayout(layout string) func([]byte, time.Time) []byte {
	return func(dst []byte, t time.Time) []byte { return t.AppendFormat(dst, layout) }
}

func fraction(digits int) func([]byte, time.Time) []byte {
	return func(dst []byte, t time.Time) []byte {
		start := len(dst)
		dst = strconv.AppendInt(dst, 1e9+int64(t.Nanosecond()), 10) // the leading 1 keeps the zeros
		copy(dst[start:], dst[start+1:start+1+digits])
		return dst[:start+digits]
	}
}
