// Package format compiles Envoy's substitution strings ("%REQ(x-id)% from %DOWNSTREAM_REMOTE_ADDRESS%"), which header operations and access logs are
// written in, and fills them in for an exchange.
//
// It owns the commands: a command of Envoy's without a value here stands for none, any other is an error. It opens nothing. Writing allocates nothing
// beyond what the buffer needs to grow.
package format

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// Template is a compiled substitution string.
type Template struct {
	parts []part
}

type part struct {
	text   string  // when put is nil
	put    command // appends the value, or nothing when there is none
	limit  int     // bytes of the value at most; 0 is no limit
	number bool
}

// command appends what it stands for; nothing appended is no value.
type command func(dst []byte, x *message.Info) []byte

// Options are what the process knows.
type Options struct {
	Hostname string                   // %HOSTNAME%
	Getenv   func(name string) string // %ENVIRONMENT(x)%; nil knows nothing
}

// New compiles a substitution string.
func New(text string, o Options) (*Template, error) {
	t := &Template{}
	for rest := text; rest != ""; {
		i := strings.IndexByte(rest, '%')
		if i < 0 {
			t.literal(rest)
			break
		}
		t.literal(rest[:i])
		rest = rest[i+1:]
		if strings.HasPrefix(rest, "%") {
			t.literal("%")
			rest = rest[1:]
			continue
		}
		c, n, err := readCommand(rest)
		if err != nil {
			return nil, fmt.Errorf("%w in %q", err, text)
		}
		p, err := c.compile(o)
		if err != nil {
			return nil, err
		}
		t.parts, rest = append(t.parts, p), rest[n:]
	}
	return t, nil
}

// Plain is the template that stands for a text as it is.
func Plain(text string) *Template {
	t := &Template{}
	t.literal(text)
	return t
}

func (t *Template) literal(text string) {
	if text == "" {
		return
	}
	if n := len(t.parts); n > 0 && t.parts[n-1].put == nil {
		t.parts[n-1].text += text
		return
	}
	t.parts = append(t.parts, part{text: text})
}

// Literal gives the text of a template without commands.
func (t *Template) Literal() (text string, ok bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].put == nil:
		return t.parts[0].text, true
	}
	return "", false
}

// Append fills the template in; none stands for values that are not there ("" in header fields, "-" in logs).
func (t *Template) Append(dst []byte, x *message.Info, none string) []byte {
	for i := range t.parts {
		p := &t.parts[i]
		if p.put == nil {
			dst = append(dst, p.text...)
			continue
		}
		start := len(dst)
		if dst = p.append(dst, x); len(dst) == start {
			dst = append(dst, none...)
		}
	}
	return dst
}

func (p *part) append(dst []byte, x *message.Info) []byte {
	start := len(dst)
	dst = p.put(dst, x)
	if p.limit > 0 && len(dst)-start > p.limit {
		dst = dst[:start+p.limit]
	}
	return dst
}

// AppendJSON fills the template in as a value of JSON: a number if it is one command that gives numbers, null if it is one command without a value,
// else a string with "-" for what is not there.
func (t *Template) AppendJSON(dst []byte, x *message.Info) []byte {
	start := len(dst)
	if len(t.parts) == 1 && t.parts[0].put != nil {
		p := &t.parts[0]
		if p.number {
			if dst = p.append(dst, x); len(dst) > start {
				return dst
			}
			return append(dst, "null"...)
		}
		dst = p.append(append(dst, '"'), x)
		if len(dst) == start+1 {
			return append(dst[:start], "null"...)
		}
		return append(escape(dst, start+1), '"')
	}
	dst = t.Append(append(dst, '"'), x, "-")
	return append(escape(dst, start+1), '"')
}

// escape makes what was appended since start fit between the quotes of JSON.
func escape(dst []byte, start int) []byte {
	i := start
	for ; len(dst)-i >= 8 && !special(binary.LittleEndian.Uint64(dst[i:])); i += 8 {
	}
	for ; i < len(dst); i++ {
		if c := dst[i]; c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			continue
		}
		raw := string(dst[i:]) // rare: what came before needed nothing
		return appendEscaped(dst[:i], raw)
	}
	return dst
}

// special tells whether one of eight bytes is a control character, not ASCII, a quote or a backslash.
func special(w uint64) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, slash := w^ones*'"', w^ones*'\\'
	// Of each byte that is 0, or that is less than 0x20, subtracting 1 or 0x20 sets the top bit where it was not; adding 1 sets it for 0x7f. What a
	// byte borrows from the next is at worst one that looks special and is not.
	return ((w-ones*0x20)|(w+ones)|(quote-ones)&^quote|(slash-ones)&^slash|w)&tops != 0
}

func appendEscaped(dst []byte, raw string) []byte {
	const hex = "0123456789abcdef"
	for _, r := range raw { // bytes that are no UTF-8 become U+FFFD
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < 0x20 || r == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = append(dst, string(r)...)
		}
	}
	return dst
}

// call is a command as it is written: NAME(argument):limit.
type call struct {
	name, argument string
	hasArgument    bool
	limit          int
}

func (c call) String() string {
	if c.hasArgument {
		return "%" + c.name + "(" + c.argument + ")%"
	}
	return "%" + c.name + "%"
}

// readCommand reads what follows a % up to and with the next, and tells how many bytes that was.
func readCommand(s string) (call, int, error) {
	n := 0
	for n < len(s) && (s[n] == '_' || 'A' <= s[n] && s[n] <= 'Z' || '0' <= s[n] && s[n] <= '9') {
		n++
	}
	c := call{name: s[:n]}
	if n < len(s) && s[n] == '(' {
		end := strings.IndexByte(s[n:], ')')
		if end < 0 {
			return c, 0, fmt.Errorf("%%%s( is not closed", c.name)
		}
		c.argument, c.hasArgument = s[n+1:n+end], true
		n += end + 1
	}
	if n < len(s) && s[n] == ':' {
		end := strings.IndexByte(s[n:], '%')
		if end < 0 {
			return c, 0, fmt.Errorf("%%%s is not closed", c.name)
		}
		limit, err := strconv.ParseUint(s[n+1:n+end], 10, 31)
		if err != nil || limit == 0 {
			return c, 0, fmt.Errorf("%%%s has no good length behind its colon", c.name)
		}
		c.limit = int(limit)
		n += end
	}
	if n == len(s) || s[n] != '%' {
		return c, 0, fmt.Errorf("%%%s is not closed: a percent sign of the text itself is written %%%%", c.name)
	}
	return c, n + 1, nil
}
