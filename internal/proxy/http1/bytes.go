package http1

import (
	"encoding/binary"
	"unsafe"
)

// lower maps the characters of a token (RFC 9110 section 5.6.2) to their lower case, and all others to 0.
var lower = func() (t [256]byte) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
		t[c] = c
	}
	for c := byte('A'); c <= 'Z'; c++ {
		t[c] = c | 0x20
	}
	return t
}()

// hostChars are those of a registered name (RFC 3986 section 3.2.2), without the comma: a list of hosts is none.
var hostChars = func() (t [256]bool) {
	for _, c := range []byte("-._~%!$&'()*+;=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

// view is the bytes as a string that changes when they do.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// isValue tells whether bytes may be a field's value: no control characters but the tab (RFC 9110 section 5.5).
func isValue(b []byte) bool {
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		del := x ^ ones*0x7f
		if ((x-ones*0x20)&^x|(del-ones)&^del)&highs != 0 && !isValueSlow(b[:8]) {
			return false
		}
		b = b[8:]
	}
	return isValueSlow(b)
}

func isValueSlow(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isTarget tells whether bytes may be the path and query of a target. Bytes above ASCII are let through as they are; a fragment is not.
func isTarget(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

func isToken(s string) bool {
	for i := range len(s) {
		if lower[s[i]] == 0 {
			return false
		}
	}
	return s != ""
}

// isLowerName tells whether a name is one as message.Field has it.
func isLowerName(s string) bool {
	for i := range len(s) {
		if c := s[i]; lower[c] != c || c == 0 {
			return false
		}
	}
	return s != ""
}

// isAuthority tells whether s is a host with an optional port (RFC 9110 section 7.2), and whether there is a port. A port that is named is not empty.
func isAuthority(s string) (ok, port bool) {
	host := len(s)
	if s != "" && s[0] == '[' {
		host = 1
		for host < len(s) && (isHex(s[host]) || s[host] == ':' || s[host] == '.') {
			host++
		}
		if host == 1 || host == len(s) || s[host] != ']' {
			return false, false
		}
		host++
	} else {
		for i := range len(s) {
			if !hostChars[s[i]] {
				host = i
				break
			}
		}
	}
	if host == len(s) {
		return host > 0, false
	}
	if host == 0 || s[host] != ':' || !isPort(s[host+1:]) {
		return false, false
	}
	return true, true
}

func isPort(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
		if n > 65535 {
			return false
		}
	}
	return s != "" && len(s) <= 5
}

func isHex(c byte) bool { return c-'0' <= 9 || (c|0x20)-'a' <= 5 }

// isFold tells whether s is word but for the case of ASCII letters. word is in lower case.
func isFold(s, word string) bool {
	if len(s) != len(word) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// element cuts the first element off a list (RFC 9110 section 5.6.1).
func element(list string) (first, rest string) {
	for i := range len(list) {
		if list[i] == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), ""
}
