package match

import (
	"errors"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Header is a HeaderMatcher.
type Header struct {
	name           string // in lower case; pseudo-headers with their colon
	invert         bool
	missingIsEmpty bool
	kind           headerKind
	present        bool
	start, end     int64
	value          String
}

type headerKind uint8

const (
	headerPresent headerKind = iota
	headerRange
	headerString
)

// NewHeader compiles a HeaderMatcher.
func NewHeader(m *routev3.HeaderMatcher) (Header, error) {
	h := Header{
		name: strings.ToLower(m.GetName()), invert: m.GetInvertMatch(), missingIsEmpty: m.GetTreatMissingHeaderAsEmpty(),
		kind: headerString, present: true,
	}
	if h.name == "host" {
		h.name = ":authority"
	}
	if h.name == "" {
		return h, field.Errorf("name", "empty")
	}
	var err error
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case nil:
		h.kind = headerPresent
	case *routev3.HeaderMatcher_PresentMatch:
		h.kind, h.present = headerPresent, s.PresentMatch
	case *routev3.HeaderMatcher_RangeMatch:
		h.kind, h.start, h.end = headerRange, s.RangeMatch.GetStart(), s.RangeMatch.GetEnd()
	case *routev3.HeaderMatcher_StringMatch:
		h.value, err = NewString(s.StringMatch)
		err = field.In("string_match", err)
	// The forms before string_match, which some control planes still send.
	case *routev3.HeaderMatcher_ExactMatch:
		h.value = String{kind: exactString, text: s.ExactMatch}
	case *routev3.HeaderMatcher_PrefixMatch:
		h.value = String{kind: prefixString, text: s.PrefixMatch}
	case *routev3.HeaderMatcher_SuffixMatch:
		h.value = String{kind: suffixString, text: s.SuffixMatch}
	case *routev3.HeaderMatcher_ContainsMatch:
		h.value = String{kind: containsString, text: s.ContainsMatch}
	case *routev3.HeaderMatcher_SafeRegexMatch:
		h.value.kind = regexString
		h.value.re, err = NewRegex(s.SafeRegexMatch)
		err = field.In("safe_regex_match", err)
	default:
		err = errors.New("this proxy does not know its kind of match")
	}
	return h, err
}

// NewHeaders compiles a list of them.
func NewHeaders(name string, ms []*routev3.HeaderMatcher) ([]Header, error) {
	var out []Header
	for i, m := range ms {
		h, err := NewHeader(m)
		if err != nil {
			return nil, field.At(name, i, err)
		}
		out = append(out, h)
	}
	return out, nil
}

// Match tells whether a request has such a header. Fields of one name are joined by commas; :method, :authority, :path, :scheme and :protocol are
// headers as well.
func (h *Header) Match(r *message.Request) bool {
	v, ok := h.of(r)
	return h.decide(v, ok)
}

// MatchEach is Match where the fields of one name are looked at one by one, and one of them is enough (inverted: none may match). Who refuses something asks so: a value hides
// behind no other (Envoy's rbac does so since CVE-2026-26308).
func (h *Header) MatchEach(r *message.Request) bool {
	if h.name[0] == ':' {
		return h.Match(r)
	}
	found := false
	for _, f := range r.Fields.All() {
		if f.Name != h.name {
			continue
		}
		if found = true; h.decide(f.Value, true) != h.invert {
			return !h.invert
		}
	}
	if found {
		return h.invert
	}
	return h.decide("", false)
}

// MatchFields is Match for fields alone.
func (h *Header) MatchFields(f *message.Fields) bool {
	v, ok := Joined(f, h.name)
	return h.decide(v, ok)
}

func (h *Header) decide(v string, ok bool) bool {
	if !ok && h.missingIsEmpty {
		v, ok = "", true
	}
	switch h.kind {
	case headerPresent:
		return (ok == h.present) != h.invert
	case headerRange:
		if !ok {
			return false
		}
		n, err := strconv.ParseInt(v, 10, 64)
		return (err == nil && h.start <= n && n < h.end) != h.invert
	}
	// Inverted or not, a value that is not there is not compared: treat_missing_header_as_empty is how to ask for it.
	return ok && h.value.Match(v) != h.invert
}

func (h *Header) of(r *message.Request) (string, bool) {
	if h.name[0] != ':' {
		return Joined(&r.Fields, h.name)
	}
	return Pseudo(r, h.name)
}

// Pseudo gives a pseudo-header by its name, with the colon.
func Pseudo(r *message.Request, name string) (v string, ok bool) {
	switch name {
	case ":method":
		v = r.Method
	case ":authority":
		v = r.Authority
	case ":path":
		v = r.Path
	case ":scheme":
		v = r.Scheme
	case ":protocol":
		v = r.Protocol
	}
	return v, v != ""
}

// Joined gives the value of a field, or of several of one name joined by commas (RFC 9110, section 5.3).
func Joined(f *message.Fields, name string) (string, bool) {
	all := f.All()
	for i := range all {
		if all[i].Name != name {
			continue
		}
		for j := i + 1; j < len(all); j++ {
			if all[j].Name == name {
				return join(f, all[i:], name), true
			}
		}
		return all[i].Value, true
	}
	return "", false
}

func join(f *message.Fields, fields []message.Field, name string) string {
	var room [512]byte
	b := append(room[:0], fields[0].Value...)
	for _, o := range fields[1:] {
		if o.Name == name {
			b = append(append(b, ','), o.Value...)
		}
	}
	return f.Copy(b)
}

// String says what is matched, for a person.
func (h *Header) String() string {
	not := ""
	if h.invert {
		not = "not "
	}
	switch {
	case h.kind == headerRange:
		return "header " + h.name + " " + not + "from " + strconv.FormatInt(h.start, 10) + " to below " + strconv.FormatInt(h.end, 10)
	case h.kind == headerString:
		return "header " + h.name + " " + not + h.value.String()
	case h.present != h.invert:
		return "header " + h.name + " present"
	}
	return "header " + h.name + " absent"
}
