package house

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDocumentsExist(t *testing.T) {
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/architecture.md", "docs/performance.md", "docs/decisions"} {
		if _, err := os.Stat(filepath.Join(sources(t).root, name)); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(read(t, "CHANGELOG.md"), "## Unreleased") {
		t.Error("CHANGELOG.md has no section Unreleased for what comes next")
	}
}

// The page that says what is where must not fall behind.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	text := read(t, "docs/architecture.md")
	for dir, pkg := range sources(t).pkgs {
		name, internal := strings.CutPrefix(dir, "internal/")
		if internal && len(pkg.code()) > 0 && !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/architecture.md does not say what `%s` is for", name)
		}
	}
}

var (
	link       = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	makeTarget = regexp.MustCompile("`make ([a-z][a-z0-9-]*)")
	makeRule   = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`)
)

func TestLinksLeadSomewhere(t *testing.T) {
	src := sources(t)
	for _, name := range src.files {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(read(t, name), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(src.root, path.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
	}
}

func TestDocumentedTargetsExist(t *testing.T) {
	var rules []string
	for _, m := range makeRule.FindAllStringSubmatch(read(t, "Makefile"), -1) {
		rules = append(rules, m[1])
	}
	for _, name := range sources(t).files {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, m := range makeTarget.FindAllStringSubmatch(read(t, name), -1) {
			if !slices.Contains(rules, m[1]) {
				t.Errorf("%s speaks of `make %s`, which the Makefile does not know", name, m[1])
			}
		}
	}
}

// A target whose script is not there is found when somebody needs it.
func TestScriptsOfTheMakefileExist(t *testing.T) {
	src := sources(t)
	for _, name := range regexp.MustCompile(`scripts/[a-z0-9-]+\.sh`).FindAllString(read(t, "Makefile"), -1) {
		if info, err := os.Stat(filepath.Join(src.root, name)); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("the Makefile runs %s, which is not there or not executable", name)
		}
	}
}

// Where somebody once worked is nobody's business, and a path that exists on one machine only is a bug on all others.
func TestNoPathsOfOneMachine(t *testing.T) {
	foreign := regexp.MustCompile(`(^|[\s"'` + "`" + `=(:])/(ro` + `ot|wo` + `rk|ho` + `me/[a-z]+)/`)
	for _, name := range sources(t).files {
		text := read(t, name)
		if !utf8.ValidString(text) || bytes.IndexByte([]byte(text), 0) >= 0 {
			continue
		}
		for i, l := range strings.Split(text, "\n") {
			if m := foreign.FindString(l); m != "" {
				t.Errorf("%s:%d names a path of one machine: %s", name, i+1, strings.TrimSpace(m))
			}
		}
	}
}

func TestDecisionsAreNumbered(t *testing.T) {
	number := regexp.MustCompile(`^docs/decisions/(\d{4})-[a-z0-9-]+\.md$`)
	seen := map[string]string{}
	for _, name := range sources(t).files {
		if !strings.HasPrefix(name, "docs/decisions/") || path.Base(name) == "README.md" {
			continue
		}
		m := number.FindStringSubmatch(name)
		if m == nil {
			t.Errorf("%s: want docs/decisions/NNNN-some-words.md", name)
			continue
		}
		if other := seen[m[1]]; other != "" {
			t.Errorf("%s and %s have one number", other, name)
		}
		seen[m[1]] = name
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(sources(t).root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
