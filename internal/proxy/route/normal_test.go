package route

import (
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/proxy/message"
)

func TestNormalizePath(t *testing.T) {
	all := PathPolicy{Normalize: true, MergeSlashes: true}
	normal := PathPolicy{Normalize: true}
	for _, c := range []struct {
		policy   PathPolicy
		in, want string
		verdict  Verdict
	}{
		{PathPolicy{}, "/a/../%61//b", "/a/../%61//b", Proceed},
		{PathPolicy{}, "/a#b", "/a#b", Reject},
		{all, "/a?b#c", "/a?b#c", Reject},
		{all, "*", "*", Proceed},
		{all, "", "", Proceed},
		{all, "a/b", "a/b", Reject},
		{all, "/", "/", Proceed},
		{all, "/a/b-._~:@!$&'()*+,;=", "/a/b-._~:@!$&'()*+,;=", Proceed},
		{all, "/a/./b", "/a/b", Proceed},
		{all, "/a/../b", "/b", Proceed},
		{all, "/a/..", "/", Proceed},
		{all, "/a/b/..", "/a/", Proceed},
		{all, "/a/.", "/a/", Proceed},
		{all, "/../../a", "/a", Proceed},
		{all, "/..", "/", Proceed},
		{all, "/.hidden/..a/b..", "/.hidden/..a/b..", Proceed},
		{all, "/a/%2e%2E/b", "/b", Proceed},
		{all, "/a/.%2e/b", "/b", Proceed},
		{all, "/a/%252e%252e/b", "/a/%252e%252e/b", Proceed},
		{all, "/%61%7a%41%2D", "/azA-", Proceed},
		{all, "/a%2fb%5cc%2F", "/a%2fb%5cc%2F", Proceed},
		{all, "/a/..;/b", "/b", Proceed},
		{all, "/a/.;x=y/b", "/a/b", Proceed},
		{all, "/a/%2e%2e;x", "/", Proceed},
		{all, "/a/..%3b/...;/;../b;", "/a/..%3b/...;/;../b;", Proceed},
		{all, `/a\..\b`, "/b", Proceed},
		{all, "/a b\"<>`{}|^\xc3\xa9", "/a%20b%22%3C%3E%60%7B%7D%7C%5E%C3%A9", Proceed},
		{all, "/a%00b", "/a%00b", Reject},
		{all, "/a%", "/a%", Proceed},
		{all, "/a%4", "/a%4", Proceed},
		{all, "/a%zz%61", "/a%zza", Proceed},
		{all, "/%%32%46", "/%%32F", Proceed},
		{all, "/%2%46admin", "/%2%46admin", Proceed},
		{all, "/%/%2e.", "/", Proceed},
		{all, "/x/%4%2e", "/x/%4.", Proceed},
		{all, "/a\x00b", "/a\x00b", Reject},
		{all, "//a///b//", "/a/b/", Proceed},
		{normal, "//a///b//", "//a///b//", Proceed},
		{normal, "/a//../b", "/a/b", Proceed},
		{all, "/a/../b?x=/../%61//", "/b?x=/../%61//", Proceed},
		{PathPolicy{MergeSlashes: true}, "/a//../b", "/a/../b", Proceed},
		{PathPolicy{Normalize: true, EscapedSlashes: RejectEscaped}, "/a%2Fb", "/a%2Fb", Reject},
		{PathPolicy{EscapedSlashes: RejectEscaped}, "/a%5cb", "/a%5cb", Reject},
		{PathPolicy{EscapedSlashes: RejectEscaped}, "/a%252Fb?%2F", "/a%252Fb?%2F", Proceed},
		{PathPolicy{Normalize: true, EscapedSlashes: UnescapeAndForward}, "/a%2F..%2fb", "/b", Proceed},
		{PathPolicy{Normalize: true, MergeSlashes: true, EscapedSlashes: UnescapeAndRedirect}, "/a%2F%5Cb?c", "/a/b?c", RedirectToNormal},
		{PathPolicy{Normalize: true, EscapedSlashes: UnescapeAndRedirect}, "/a/../b", "/b", Proceed},
		{PathPolicy{EscapedSlashes: UnescapeAndForward}, `/a%5Cb`, `/a\b`, Proceed},
	} {
		got, verdict := NormalizePath(c.in, c.policy)
		if got != c.want || verdict != c.verdict {
			t.Errorf("%+v: %q becomes %q, %d; want %q, %d", c.policy, c.in, got, verdict, c.want, c.verdict)
		}
		r := &message.Request{Path: c.in}
		if v := c.policy.Apply(r); v != c.verdict || r.Path != c.want {
			t.Errorf("Apply: %q becomes %q, %d", c.in, r.Path, v)
		}
	}
}

func TestNormalPathsCostNothing(t *testing.T) {
	p := PathPolicy{Normalize: true, MergeSlashes: true, EscapedSlashes: UnescapeAndRedirect}
	r := &message.Request{Path: "/api/v1/things/42.json?next=%2Fa"}
	if n := testing.AllocsPerRun(100, func() { p.Apply(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is normal stays as it is, has no dot segments, and no encoding that could be undone.
func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/a/../b", "/%2e%2e/", "/%%32%46", "/a%2F..", "//x\\..\\", "/%00", "/%25%32%65", "/\xff?#", "/%2%2546", "/%5%43", "/.%2e%2f.", "/%%%353"} {
		f.Add(s, byte(0xff))
		f.Add(s, byte(3))
	}
	f.Fuzz(func(t *testing.T, path string, options byte) {
		p := PathPolicy{Normalize: options&1 != 0, MergeSlashes: options&2 != 0, EscapedSlashes: EscapedSlashes(options >> 2 & 3)}
		once, verdict := NormalizePath(path, p)
		if verdict == Reject {
			return
		}
		twice, verdict := NormalizePath(once, p)
		if verdict != Proceed || twice != once {
			t.Fatalf("%+v: %q becomes %q, and that %q (%d)", p, path, once, twice, verdict)
		}
		if once, _, _ = strings.Cut(once, "?"); p.Normalize && strings.HasPrefix(once, "/") {
			for segment := range strings.SplitSeq(once, "/") {
				segment, _, _ = strings.Cut(segment, ";")
				if s := strings.ReplaceAll(strings.ToLower(segment), "%2e", "."); s == "." || s == ".." {
					t.Fatalf("%q keeps a dot segment: %q", path, once)
				}
			}
		}
		if p.MergeSlashes && strings.Contains(once, "//") {
			t.Fatalf("%q keeps slashes: %q", path, once)
		}
	})
}
