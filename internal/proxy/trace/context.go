package trace

import (
	"encoding/hex"
	"strings"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// Context is where in a trace a request is.
type Context struct {
	TraceID [16]byte
	SpanID  [8]byte // of the span that the request was sent in
	Sampled bool
	State   string // tracestate, as it came
}

// Valid tells whether there is a trace.
func (c *Context) Valid() bool { return c.TraceID != [16]byte{} && c.SpanID != [8]byte{} }

// The fields' names.
const (
	traceParent = "traceparent"
	traceState  = "tracestate"
	b3          = "b3"
	b3TraceID   = "x-b3-traceid"
	b3SpanID    = "x-b3-spanid"
	b3ParentID  = "x-b3-parentspanid"
	b3Sampled   = "x-b3-sampled"
	b3Flags     = "x-b3-flags"
)

// Read finds a request's context: W3C's, or else B3's in one field, or in several. decided tells whether somebody has decided on sampling, which B3
// can say without a trace.
func Read(f *message.Fields) (c Context, decided bool) {
	var parent, single string
	multiple := false
	for _, h := range f.All() {
		switch h.Name {
		case traceParent:
			if parent != "" { // two are none
				parent = "-"
				continue
			}
			parent = h.Value
		case b3:
			single = h.Value
		case b3TraceID, b3Sampled, b3Flags:
			multiple = true
		}
	}
	if parent != "" && c.w3c(parent) {
		c.State, _ = f.Get(traceState)
		return c, true
	}
	if single != "" {
		return c, c.single(single)
	}
	if multiple {
		return c, c.multiple(f)
	}
	return Context{}, false
}

// w3c reads a traceparent: VERSION-TRACE-SPAN-FLAGS (W3C Trace Context, section 3.2).
func (c *Context) w3c(v string) bool {
	const length = 55
	if len(v) < length || v[2] != '-' || v[35] != '-' || v[52] != '-' || v[:2] == "ff" || len(v) > length && (v[:2] == "00" || v[length] != '-') {
		return false
	}
	var version, flags [1]byte
	if !decode(version[:], v[:2]) || !decode(c.TraceID[:], v[3:35]) || !decode(c.SpanID[:], v[36:52]) || !decode(flags[:], v[53:55]) || !c.Valid() {
		*c = Context{}
		return false
	}
	c.Sampled = flags[0]&1 != 0
	return true
}

// single reads the field b3: TRACE-SPAN[-SAMPLED[-PARENT]], or SAMPLED alone. It tells whether sampling is decided.
func (c *Context) single(v string) bool {
	parts := strings.SplitN(v, "-", 5)
	if len(parts) == 1 {
		return c.sampling(v)
	}
	if !c.ids(parts[0], parts[1]) {
		return false
	}
	return len(parts) > 2 && c.sampling(parts[2])
}

// multiple reads the fields x-b3-*.
func (c *Context) multiple(f *message.Fields) bool {
	trace, _ := f.Get(b3TraceID)
	span, _ := f.Get(b3SpanID)
	c.ids(trace, span)
	if v, ok := f.Get(b3Flags); ok && v == "1" {
		return c.sampling("d")
	}
	v, _ := f.Get(b3Sampled)
	return c.sampling(v)
}

func (c *Context) sampling(v string) bool {
	switch v {
	case "1", "d", "true":
		c.Sampled = true
	case "0", "false":
	default:
		return false
	}
	return true
}

// ids reads B3's IDs; a trace's may have 64 bits only.
func (c *Context) ids(trace, span string) bool {
	at := c.TraceID[:]
	if len(trace) == 16 {
		at = at[8:]
	}
	if decode(at, trace) && decode(c.SpanID[:], span) && c.Valid() {
		return true
	}
	c.TraceID, c.SpanID = [16]byte{}, [8]byte{}
	return false
}

// decode reads exactly as many bytes, in lower case.
func decode(dst []byte, v string) bool {
	if len(v) != 2*len(dst) {
		return false
	}
	for i := range dst {
		hi, lo := digit(v[2*i]), digit(v[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// Write puts the context into a request, as W3C's and in each of B3's forms that the request has already. parent is the span that it is a part of, if
// there is one.
func (c *Context) Write(f *message.Fields, parent [8]byte) {
	var room [64]byte
	flags := "-00"
	if c.Sampled {
		flags = "-01"
	}
	v := hex.AppendEncode(append(room[:0], "00-"...), c.TraceID[:])
	v = append(hex.AppendEncode(append(v, '-'), c.SpanID[:]), flags...)
	f.Set(traceParent, f.Copy(v))
	if _, ok := f.Get(b3); ok {
		v = hex.AppendEncode(room[:0], c.TraceID[:])
		v = append(hex.AppendEncode(append(v, '-'), c.SpanID[:]), '-', flags[2])
		f.Set(b3, f.Copy(v))
	}
	if _, ok := f.Get(b3TraceID); !ok {
		return
	}
	f.Set(b3TraceID, f.Copy(hex.AppendEncode(room[:0], c.TraceID[:])))
	f.Set(b3SpanID, f.Copy(hex.AppendEncode(room[:0], c.SpanID[:])))
	if parent != [8]byte{} {
		f.Set(b3ParentID, f.Copy(hex.AppendEncode(room[:0], parent[:])))
	}
	f.Set(b3Sampled, flags[2:])
}
