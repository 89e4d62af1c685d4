package route

import (
	"bytes"
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// PathPolicy is how the path of a request is brought into normal form before anybody looks at it, so that routes, policy and the endpoint see the same
// bytes. The zero value leaves paths as they are, and only refuses those with a fragment.
type PathPolicy struct {
	// Normalize applies RFC 3986, sections 6.2.2.2 and 6.2.2.3: percent-encoding of what needs none is undone, and dot segments are resolved. Backslashes become
	// slashes, and bytes that a path must not have are encoded. A NUL, encoded or not, is refused.
	Normalize bool
	// MergeSlashes makes one slash of several.
	MergeSlashes bool
	// EscapedSlashes is what becomes of %2F and %5C.
	EscapedSlashes EscapedSlashes
}

// EscapedSlashes is path_with_escaped_slashes_action.
type EscapedSlashes uint8

// The actions.
const (
	KeepEscaped EscapedSlashes = iota
	RejectEscaped
	UnescapeAndRedirect
	UnescapeAndForward
)

// NewPathPolicy compiles what a listener says of paths.
func NewPathPolicy(m *hcmv3.HttpConnectionManager) PathPolicy {
	p := PathPolicy{Normalize: m.GetNormalizePath().GetValue(), MergeSlashes: m.GetMergeSlashes()}
	switch m.GetPathWithEscapedSlashesAction() {
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		p.EscapedSlashes = RejectEscaped
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		p.EscapedSlashes = UnescapeAndRedirect
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:
		p.EscapedSlashes = UnescapeAndForward
	}
	return p
}

// Verdict is what is to be done with a request after its path was brought into normal form.
type Verdict uint8

const (
	// Proceed with the path as it is now.
	Proceed Verdict = iota
	// Reject it with 400.
	Reject
	// Redirect the client to the path as it is now, with 307 (308 or 302 would lose the method with some clients).
	RedirectToNormal
)

// Apply brings the path of a request into normal form. A path that is so already costs a look at each byte.
func (p PathPolicy) Apply(r *message.Request) Verdict {
	var room [1024]byte
	path, verdict := p.normal(room[:0], r.Path)
	if path != nil && verdict != Reject {
		r.Path = r.Fields.Copy(path)
	}
	return verdict
}

// NormalizePath gives the normal form of a path with its query.
func NormalizePath(path string, p PathPolicy) (string, Verdict) {
	b, verdict := p.normal(nil, path)
	if b == nil {
		return path, verdict
	}
	return string(b), verdict
}

// normal appends the normal form; nil is a path that is in normal form.
func (p PathPolicy) normal(dst []byte, path string) ([]byte, Verdict) {
	if strings.IndexByte(path, '#') >= 0 {
		return nil, Reject
	}
	path, query, hasQuery := strings.Cut(path, "?")
	if path == "" || path == "*" {
		return nil, Proceed
	}
	escaped := p.EscapedSlashes != KeepEscaped && hasEscapedSlash(path)
	if escaped && p.EscapedSlashes == RejectEscaped || p.Normalize && path[0] != '/' {
		return nil, Reject
	}
	if !escaped && !(p.Normalize && !isNormal(path)) && !(p.MergeSlashes && strings.Contains(path, "//")) {
		return nil, Proceed
	}
	dst = append(dst, path...)
	if escaped {
		dst = unescapeSlashes(dst)
	}
	if p.Normalize {
		var ok bool
		if dst, ok = decode(make([]byte, 0, len(dst)+8), dst); !ok {
			return nil, Reject
		}
		dst = resolveDots(dst)
	}
	if p.MergeSlashes {
		dst = mergeSlashes(dst)
	}
	if hasQuery {
		dst = append(append(dst, '?'), query...)
	}
	if escaped && p.EscapedSlashes == UnescapeAndRedirect {
		return dst, RedirectToNormal
	}
	return dst, Proceed
}

// isNormal tells, without being sure of every path that is, whether Normalize would leave a path as it is.
func isNormal(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c == '%' || c == '\\' || mustEncode(c):
			return false
		case c == '.' && path[i-1] == '/': // the first byte is a slash
			return false
		}
	}
	return true
}

// mustEncode is the bytes that a path may only have percent-encoded.
func mustEncode(c byte) bool {
	return c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '`' || c == '{' || c == '}' || c == '^' || c == '|'
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// decode undoes percent-encoding of unreserved characters, leaves others byte by byte as they are (somebody may have signed them), and encodes what must
// be. It is false for a NUL, encoded or not.
func decode(dst, path []byte) ([]byte, bool) {
	const hex = "0123456789ABCDEF"
	stray := 0 // where the last percent sign was written that begins no encoding
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == 0:
			return nil, false
		case c == '\\':
			dst = append(dst, '/')
		case mustEncode(c):
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		case c != '%':
			dst = append(dst, c)
		default:
			v, ok := unhex(path[i:])
			switch {
			case !ok:
				stray = len(dst)
				dst = append(dst, c)
				continue
			case v == 0:
				return nil, false
			case unreserved(v) && !completes(dst[stray:], v):
				dst = append(dst, v)
			default:
				dst = append(dst, path[i:i+3]...)
			}
			i += 2
		}
	}
	return dst, true
}

// completes tells whether a byte would make an encoding of what was written since a stray percent sign.
func completes(since []byte, v byte) bool {
	_, hex := hexDigit(v)
	if !hex || len(since) == 0 || since[0] != '%' {
		return false
	}
	if len(since) == 2 {
		_, hex = hexDigit(since[1])
	}
	return hex && len(since) <= 2
}

// unhex reads a percent-encoded byte.
func unhex(s []byte) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, ok1 := hexDigit(s[1])
	lo, ok2 := hexDigit(s[2])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func hasEscapedSlash(path string) bool {
	for {
		i := strings.IndexByte(path, '%')
		if i < 0 {
			return false
		}
		path = path[i:]
		if escapedSlash([]byte(path[:min(3, len(path))])) != 0 {
			return true
		}
		path = path[1:]
	}
}

// escapedSlash gives the slash or backslash whose encoding something begins with, or 0.
func escapedSlash(s []byte) byte {
	if len(s) < 3 || s[0] != '%' {
		return 0
	}
	if v, ok := unhex(s); ok && (v == '/' || v == '\\') {
		return v
	}
	return 0
}

// unescapeSlashes works in place.
func unescapeSlashes(path []byte) []byte {
	out := path[:0]
	for i := 0; i < len(path); i++ {
		if v := escapedSlash(path[i:]); v != 0 {
			out = append(out, v)
			i += 2
			continue
		}
		out = append(out, path[i])
	}
	return out
}

// resolveDots removes segments "." and, with the one before it, "..", in place. The path begins with a slash; the root has no parent. A segment with
// parameters ("..;a=b") is what it is without them, as servers read it that know parameters, and Envoy.
func resolveDots(path []byte) []byte {
	out := path[:0]
	for i := 0; i < len(path); { // path[i] is a slash
		end := i + 1
		for end < len(path) && path[end] != '/' {
			end++
		}
		segment, last := path[i+1:end], end == len(path)
		if i := bytes.IndexByte(segment, ';'); i > 0 {
			segment = segment[:i]
		}
		switch string(segment) {
		case ".":
		case "..":
			for len(out) > 0 {
				out = out[:len(out)-1]
				if path[len(out)] == '/' {
					break
				}
			}
		default:
			out = append(out, path[i:end]...)
			i = end
			continue
		}
		if last {
			out = append(out, '/')
		}
		i = end
	}
	return out
}

// mergeSlashes works in place.
func mergeSlashes(path []byte) []byte {
	out := path[:0]
	for i, c := range path {
		if c == '/' && i > 0 && path[i-1] == '/' {
			continue
		}
		out = append(out, c)
	}
	return out
}
