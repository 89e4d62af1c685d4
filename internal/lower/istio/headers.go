package istio

import (
	"errors"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/model"
)

// headerOps reads header operations. What is said of the authority of a request is given apart: it is no header to be set.
func (s spot) headerOps(in *networking.Headers_HeaderOperations, request bool) (out model.HeaderOps, authority string) {
	if in == nil {
		return out, ""
	}
	read := func(field string, set map[string]string) (list []model.HeaderValue) {
		for _, name := range slices.Sorted(maps.Keys(set)) {
			at, value := s.key(field, name), set[name]
			if request && isAuthority(name) {
				if authority != "" {
					at.warnf(codeConflict, "the authority is set before; %q is used", authority)
				} else {
					authority = value
				}
				continue
			}
			if !at.headerName(name) {
				continue
			}
			if err := headerValue(value); err != nil {
				at.errorf(codeHeader, "%q %v; it is left out", value, err)
				continue
			}
			list = append(list, model.HeaderValue{Name: strings.ToLower(name), Value: value})
		}
		slices.SortFunc(list, func(a, b model.HeaderValue) int {
			if c := strings.Compare(a.Name, b.Name); c != 0 {
				return c
			}
			return strings.Compare(a.Value, b.Value)
		})
		return list
	}
	out.Set = read("set", in.Set)
	out.Add = read("add", in.Add)
	for i, name := range in.Remove {
		if s.at("remove", i).headerName(name) {
			out.Remove = append(out.Remove, strings.ToLower(name))
		}
	}
	return out, authority
}

// headerName tells whether a header of that name may be changed.
func (s spot) headerName(name string) bool {
	switch {
	case strings.EqualFold(name, "host") || strings.HasPrefix(name, ":"):
		s.errorf(codeHeader, "%q cannot be changed here; it is left out", name)
	case !isToken(name):
		s.errorf(codeHeader, "%q is no name of a header; it is left out", name)
	default:
		return true
	}
	return false
}

var (
	errControl     = errors.New("holds a control character")
	errPlaceholder = errors.New("holds a % that neither begins nor ends a %PLACEHOLDER%, nor stands for itself as %%")
)

// headerValue checks a value with %PLACEHOLDERS%, as Envoy's reference of custom headers has them: %NAME%, %NAME(argument)% and %NAME(argument):9%.
func headerValue(v string) error {
	for i := range len(v) {
		if v[i] < ' ' && v[i] != '\t' || v[i] == 0x7f {
			return errControl
		}
	}
	for {
		_, rest, found := strings.Cut(v, "%")
		if !found {
			return nil
		}
		if after, doubled := strings.CutPrefix(rest, "%"); doubled {
			v = after
			continue
		}
		n := strings.IndexFunc(rest, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' })
		if n < 1 {
			return errPlaceholder
		}
		rest = rest[n:]
		if strings.HasPrefix(rest, "(") {
			end := strings.Index(rest, ")")
			if end < 0 {
				return errPlaceholder
			}
			rest = rest[end+1:]
		}
		if limit, ok := strings.CutPrefix(rest, ":"); ok {
			rest = strings.TrimLeft(limit, "0123456789")
		}
		var closed bool
		if v, closed = strings.CutPrefix(rest, "%"); !closed {
			return errPlaceholder
		}
	}
}
