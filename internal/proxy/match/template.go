package match

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/weftmesh/weft/internal/regex"
)

// What a segment of a path may consist of, for templates (pchar of RFC 3986 without * and =).
const (
	otherBytes   = `-._~%!$&'()+,;:@` // beside letters and digits
	segmentBytes = `a-zA-Z0-9` + `\` + otherBytes
)

// NewTemplate compiles a URI template (envoy.path.match.uri_template): * and {name} stand for one segment of a path, ** for any number, and
// {name=pattern} for what the pattern does.
func NewTemplate(text string) (*regexp.Regexp, error) {
	rest, ok := strings.CutPrefix(text, "/")
	if !ok {
		return nil, errors.New("a template begins with /")
	}
	var out strings.Builder
	out.WriteByte('/')
	deep := false // there was a **
	for rest != "" {
		n, glob := 0, ""
		switch {
		case strings.HasPrefix(rest, "**"):
			n, glob = 2, "**"
		case rest[0] == '*':
			n, glob = 1, "*"
		case rest[0] == '{':
			end := strings.IndexByte(rest, '}')
			if end < 0 {
				return nil, errors.New("a { without its }")
			}
			name, pattern, named := strings.Cut(rest[1:end], "=")
			if !identifier(name) {
				return nil, fmt.Errorf("%q is no name of a variable", name)
			}
			if !named {
				pattern = "*"
			}
			if strings.ContainsAny(pattern, "{}") || pattern == "" {
				return nil, fmt.Errorf("%q is no pattern of a variable", pattern)
			}
			rest = pattern + rest[end+1:]
			continue
		}
		switch glob {
		case "":
			if c := rest[0]; c != '/' && !alphanumeric(c) && strings.IndexByte(otherBytes, c) < 0 {
				return nil, fmt.Errorf("%q is not allowed in a path", c)
			}
			out.WriteString(regexp.QuoteMeta(rest[:1]))
			n = 1
		case "*":
			out.WriteString("[" + segmentBytes + "]+")
		default:
			out.WriteString("[" + segmentBytes + "/]*")
		}
		if glob != "" && deep {
			return nil, errors.New("nothing but text may follow a **")
		}
		deep = deep || glob == "**"
		rest = rest[n:]
	}
	return regex.CompileWhole(out.String())
}

// identifier tells whether a text may be the name of a variable.
func identifier(s string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) && s[i] != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 16 && s[0] != '_' && (s[0] < '0' || s[0] > '9')
}

func alphanumeric(c byte) bool {
	return 'a' <= Lower(c) && Lower(c) <= 'z' || '0' <= c && c <= '9'
}
