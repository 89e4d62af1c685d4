package regex

import (
	"strings"
	"testing"
)

func TestCompile(t *testing.T) {
	var costly []string
	for first := range 26 {
		costly = append(costly, string(rune('a'+first))+"[0-9_]{900}")
	}
	for _, c := range []struct {
		text, complaint string
	}{
		{"a|b", ""},
		{"[0-9]{1,100}", ""},
		{"", "empty"},
		{"a(", "missing closing )"},
		{"a)|(b", "unexpected )"},
		{strings.Repeat("a", maxBytes+1), "may have 16384"},
		{strings.Join(costly, "|"), "too costly"},
	} {
		_, err := CompileWhole(c.text)
		if (err == nil) != (c.complaint == "") || err != nil && !strings.Contains(err.Error(), c.complaint) {
			t.Errorf("%.20q: %v, want %q", c.text, err, c.complaint)
		}
	}
	whole, err := CompileWhole("a|b")
	if err != nil || !whole.MatchString("b") || whole.MatchString("ab") {
		t.Errorf("a|b as a whole: %v", err)
	}
	part, err := Compile("a|b")
	if err != nil || !part.MatchString("xbx") {
		t.Errorf("a|b anywhere: %v", err)
	}
}
