// Package regex compiles the regular expressions that users write (RE2 syntax), within bounds: what matching may cost is decided when one is
// compiled, since the time goes with the size of the program. Whoever declares, sends or carries a route asks here, so that nobody accepts what
// another refuses.
//
// It knows nothing of where an expression stands.
package regex

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// Bounds of an expression.
const (
	maxBytes = 16 << 10
	maxSize  = 20_000 // instructions, about
)

// Compile compiles an expression that may match anywhere in a text.
func Compile(text string) (*regexp.Regexp, error) { return compile(text, "", "") }

// CompileWhole compiles an expression that must match a whole text.
func CompileWhole(text string) (*regexp.Regexp, error) { return compile(text, `\A(?:`, `)\z`) }

func compile(text, before, after string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, errors.New("empty")
	}
	if len(text) > maxBytes {
		return nil, fmt.Errorf("it has %d bytes, and may have %d", len(text), maxBytes)
	}
	parsed, err := syntax.Parse(text, syntax.Perl) // alone, so that it cannot close the group that it is put in
	if err != nil {
		return nil, err
	}
	if n := size(parsed); n > maxSize {
		return nil, fmt.Errorf("it is too costly: a program of about %d steps, and %d are allowed", n, maxSize)
	}
	return regexp.Compile(before + text + after)
}

// size estimates how large a program an expression becomes: repeats are written out.
func size(re *syntax.Regexp) int {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpCharClass:
		n = 1 + len(re.Rune)/16
	}
	for _, sub := range re.Sub {
		n += size(sub)
		if n > 1<<40 {
			return n
		}
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}
