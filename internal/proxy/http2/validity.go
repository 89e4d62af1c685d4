package http2

import (
	"net/netip"
	"strings"
)

// What bytes may stand where. These are stricter than RFC 9113 section 8.2.1 asks: what HTTP/1.1 cannot carry does not get in, so that nothing
// has a second meaning to whom it is passed on.

const (
	inName   = 1 << iota // of a field: a token without capitals
	inMethod             // a token
	inValue              // no control characters but tab
	inPath               // what a request line may hold: nothing that would end it
	inHost               // a registered name, without the comma: a list of hosts is none (RFC 3986 section 3.2.2)
)

var bytesOK = func() (t [256]uint8) {
	for c := range 256 {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if letter || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0 && c < 0x80 {
			t[c] |= inMethod
			if c < 'A' || c > 'Z' {
				t[c] |= inName
			}
		}
		if c >= 0x20 && c != 0x7f || c == '\t' {
			t[c] |= inValue
		}
		if c > 0x20 && c != 0x7f {
			t[c] |= inPath
		}
		if letter || '0' <= c && c <= '9' || strings.IndexByte("-._~%!$&'()*+;=", byte(c)) >= 0 && c < 0x80 {
			t[c] |= inHost
		}
	}
	return t
}()

func consistsOf(s string, what uint8) bool {
	for i := range len(s) {
		if bytesOK[s[i]]&what == 0 {
			return false
		}
	}
	return true
}

// validAuthority: a host with an optional port, no user information (section 8.3.1), and nothing that HTTP/1.1 would not take as Host.
func validAuthority(s string) bool {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && s[len(s)-1] != ']' {
		if n, ok := parseLength(s[i+1:]); !ok || n > 65535 || len(s)-i > 6 {
			return false
		}
		host = s[:i]
	}
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		a, err := netip.ParseAddr(host[1 : n-1])
		return err == nil && a.Is6() && a.Zone() == ""
	}
	return host != "" && consistsOf(host, inHost)
}

func validName(s string) bool   { return s != "" && consistsOf(s, inName) }
func validMethod(s string) bool { return s != "" && consistsOf(s, inMethod) }

// validValue: no control characters, and no white space at either end (section 8.2.1).
func validValue(s string) bool {
	if s == "" {
		return true
	}
	if a, z := s[0], s[len(s)-1]; a == ' ' || a == '\t' || z == ' ' || z == '\t' {
		return false
	}
	return consistsOf(s, inValue)
}

// parseLength reads the value of content-length.
func parseLength(s string) (n int64, ok bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// ofConnection tells whether a field says something about one connection: HTTP/2 has none (section 8.2.2).
func ofConnection(name string) bool {
	switch len(name) {
	case 7:
		return name == "upgrade"
	case 10:
		return name == "connection" || name == "keep-alive"
	case 16:
		return name == "proxy-connection"
	case 17:
		return name == "transfer-encoding"
	}
	return false
}
