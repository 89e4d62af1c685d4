package detect

import "bytes"

// The protocols in the clear, by the names that Envoy's http_inspector gives them: FilterChainMatch.application_protocols has them.
const (
	HTTP10 = "http/1.0"
	HTTP11 = "http/1.1"
	H2C    = "h2c"
)

const (
	// preface begins every connection of HTTP/2 (RFC 9113 section 3.4).
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	// maxMethodBytes is how long a method may be. The longest that is registered has 17 letters.
	maxMethodBytes = 32
	// maxLineBytes is how long a request line may be that is still to be recognised.
	maxLineBytes = 16 << 10
)

// httpOf tells which version of HTTP a client begins to speak, "" for none. done is false when more bytes are needed to tell. A request line counts
// when it is whole, so that a line of another text protocol ("EHLO x", "AUTH y") is not taken for one.
func httpOf(b []byte) (protocol string, done bool) {
	n := min(len(b), len(preface))
	if string(b[:n]) == preface[:n] {
		return H2C, n == len(preface) // "PRI" is registered so that it is nobody's method
	}
	for bytes.HasPrefix(b, []byte("\r\n")) { // which RFC 9112 section 2.2 has servers ignore
		b = b[2:]
	}
	space := bytes.IndexFunc(b[:min(len(b), maxMethodBytes+1)], func(r rune) bool { return !methodChar(r) })
	switch {
	case string(b) == "\r":
		return "", false
	case space < 0:
		return "", len(b) > maxMethodBytes
	case space == 0 || b[space] != ' ':
		return "", true
	}
	target := b[space+1:]
	if len(target) > 0 && !targetStart(target[0]) {
		return "", true
	}
	end := bytes.IndexFunc(target, func(r rune) bool { return r < ' ' || r == 0x7f })
	switch {
	case end < 0:
		return "", len(b) > maxLineBytes
	case target[end] == '\r' && end+1 == len(target):
		return "", false
	case target[end] == '\r' && target[end+1] != '\n', target[end] != '\r' && target[end] != '\n':
		return "", true
	}
	line := target[:end]
	if bytes.HasSuffix(line, []byte(" HTTP/1.1")) {
		return HTTP11, true
	}
	if bytes.HasSuffix(line, []byte(" HTTP/1.0")) {
		return HTTP10, true
	}
	return "", true
}

// methodChar tells whether a method has this character. RFC 9110 allows more; no method uses them, and other protocols begin with them.
func methodChar(r rune) bool {
	return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' || r == '_'
}

// targetStart tells whether a request's target begins so: a path, an asterisk, or a scheme or an authority (RFC 9112 section 3.2).
func targetStart(c byte) bool {
	return c == '/' || c == '*' || c == '[' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
