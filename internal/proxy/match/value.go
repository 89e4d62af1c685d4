package match

import (
	"errors"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Value is a ValueMatcher. Values are as encoding/json decodes them: nil, bool, float64, string, []any, map[string]any; one that is not there is
// [message.Absent].
type Value struct {
	kind       valueKind
	text       String
	truth      bool
	exact      bool // of a number
	start, end float64
	inner      []Value // of a list, and alternatives
}

type valueKind uint8

const (
	nullValue valueKind = iota
	numberValue
	stringValue
	boolValue
	presentValue
	listValue
	orValue
)

// NewValue compiles a ValueMatcher.
func NewValue(m *matcherv3.ValueMatcher) (Value, error) {
	var v Value
	var err error
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		v.kind = nullValue
	case *matcherv3.ValueMatcher_DoubleMatch:
		v.kind = numberValue
		switch d := p.DoubleMatch.GetMatchPattern().(type) {
		case *matcherv3.DoubleMatcher_Exact:
			v.exact, v.start = true, d.Exact
		case *matcherv3.DoubleMatcher_Range:
			v.start, v.end = d.Range.GetStart(), d.Range.GetEnd()
		default:
			return v, field.Errorf("double_match", "no pattern")
		}
	case *matcherv3.ValueMatcher_StringMatch:
		v.kind = stringValue
		v.text, err = NewString(p.StringMatch)
		return v, field.In("string_match", err)
	case *matcherv3.ValueMatcher_BoolMatch:
		v.kind, v.truth = boolValue, p.BoolMatch
	case *matcherv3.ValueMatcher_PresentMatch:
		v.kind, v.truth = presentValue, p.PresentMatch
	case *matcherv3.ValueMatcher_ListMatch:
		v.kind = listValue
		one, err := NewValue(p.ListMatch.GetOneOf())
		v.inner = []Value{one}
		return v, field.In("list_match.one_of", err)
	case *matcherv3.ValueMatcher_OrMatch:
		v.kind = orValue
		for i, alternative := range p.OrMatch.GetValueMatchers() {
			one, err := NewValue(alternative)
			if err != nil {
				return v, field.In("or_match", field.At("value_matchers", i, err))
			}
			v.inner = append(v.inner, one)
		}
	default:
		err = errors.New("no pattern, or one that this proxy does not know")
	}
	return v, err
}

// Match tells whether a value matches. What is not there matches nothing.
func (v *Value) Match(value any) bool {
	switch v.kind {
	case nullValue:
		return value == nil
	case numberValue:
		n, ok := value.(float64)
		if v.exact {
			return ok && n == v.start
		}
		return ok && v.start <= n && n < v.end
	case stringValue:
		s, ok := value.(string)
		return ok && v.text.Match(s)
	case boolValue:
		b, ok := value.(bool)
		return ok && b == v.truth
	case presentValue:
		_, absent := value.(message.Absent)
		return v.truth && !absent
	case listValue:
		list, _ := value.([]any)
		for _, one := range list {
			if v.inner[0].Match(one) {
				return true
			}
		}
		return false
	}
	for i := range v.inner {
		if v.inner[i].Match(value) {
			return true
		}
	}
	return false
}

// Metadata is a MetadataMatcher.
type Metadata struct {
	filter string
	path   []string
	value  Value
	invert bool
}

// NewMetadata compiles a MetadataMatcher.
func NewMetadata(m *matcherv3.MetadataMatcher) (*Metadata, error) {
	out := &Metadata{filter: m.GetFilter(), invert: m.GetInvert()}
	for i, s := range m.GetPath() {
		if s.GetKey() == "" {
			return nil, field.At("path", i, errors.New("no key"))
		}
		out.path = append(out.path, s.GetKey())
	}
	if len(out.path) == 0 {
		return nil, field.Errorf("path", "empty")
	}
	var err error
	out.value, err = NewValue(m.GetValue())
	return out, field.In("value", err)
}

// Match tells whether what filters have said of an exchange matches.
func (m *Metadata) Match(info *message.Info) bool {
	return m.value.Match(info.MetadataAt(m.filter, m.path)) != m.invert
}
