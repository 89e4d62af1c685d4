package main

import (
	"net/http"
	"strings"
)

// passedOn lists what an application in a mesh copies from the request that it serves to those that it makes for it: without them nobody could know that
// they belong together. The first are W3C's (Trace Context), then B3's in both of its forms; end-user is the shop's own, by which routes decide.
var passedOn = []string{
	"Traceparent", "Tracestate",
	"B3", "X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid", "X-B3-Sampled", "X-B3-Flags",
	"X-Request-Id", "End-User",
}

// passOn copies them.
func passOn(to, from http.Header) {
	for _, name := range passedOn {
		if values := from.Values(name); len(values) > 0 {
			to[name] = values
		}
	}
}

// trace is the ID of the trace that a request belongs to; "" if it belongs to none.
func trace(h http.Header) string {
	// https://www.w3.org/TR/trace-context/#traceparent-header: version-trace-parent-flags.
	if f := strings.Split(h.Get("Traceparent"), "-"); len(f) >= 4 {
		return f[1]
	}
	if id := h.Get("X-B3-Traceid"); id != "" {
		return id
	}
	id, _, more := strings.Cut(h.Get("B3"), "-") // one part alone is a decision, no trace
	if !more {
		return ""
	}
	return id
}

// peer is the identity that called, as a proxy in front wrote it into X-Forwarded-Client-Cert: the URI of the last element, which the nearest proxy
// has added. It is "" if nobody vouches for the caller. Values may be quoted, and commas in them are no separators.
func peer(h http.Header) string {
	all := h.Values("X-Forwarded-Client-Cert")
	if len(all) == 0 {
		return ""
	}
	elements := splitQuoted(all[len(all)-1], ',')
	for _, pair := range splitQuoted(elements[len(elements)-1], ';') {
		name, value, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(name), "URI") {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// splitQuoted splits at a separator that is not between quotation marks.
func splitQuoted(s string, at byte) (out []string) {
	begin, quoted := 0, false
	for i := range len(s) {
		switch {
		case s[i] == '"' && (i == 0 || s[i-1] != '\\'):
			quoted = !quoted
		case s[i] == at && !quoted:
			out = append(out, s[begin:i])
			begin = i + 1
		}
	}
	return append(out, s[begin:])
}
