package artefact

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKubernetesVersion(t *testing.T) {
	version, err := KubernetesVersion()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(version, "v1.") {
		t.Errorf("version %q", version)
	}
}

func TestSourcesOfACommandAreItsOwn(t *testing.T) {
	sources, err := sourcesOf("lab-pause")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, s := range sources {
		found[s.path] = true
		if strings.HasPrefix(s.path, "cmd/lab-kubernetes") {
			t.Errorf("lab-pause is made of %s", s.path)
		}
	}
	for _, want := range []string{"go.mod", "go.sum", "cmd/lab-pause/main.go"} {
		if !found[want] {
			t.Errorf("lab-pause is made without %s", want)
		}
	}
}

func TestBuiltOnceForTheSameContent(t *testing.T) {
	steps := 0
	c := &Cache{Dir: filepath.Join(t.TempDir(), "cache"), Progress: func(string) func() { steps++; return func() {} }}
	build := func(target string) error { return os.WriteFile(target, []byte("x"), 0o755) }
	key := digest([]byte("a"), []byte("b"))
	first, err := c.once(t.Context(), "x", "x", key, build)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.once(t.Context(), "x", "x", key, func(string) error { return errors.New("built again") })
	if err != nil || second != first {
		t.Errorf("%s, then %s: %v", first, second, err)
	}
	if steps != 1 {
		t.Errorf("%d steps were told", steps)
	}
	// Where one part ends and the next begins counts.
	if other := digest([]byte("ab"), nil); other == key {
		t.Error("other content, same key")
	}
}

func TestABuildThatFailsLeavesNothing(t *testing.T) {
	c := &Cache{Dir: t.TempDir(), Progress: func(string) func() { return func() {} }}
	_, err := c.once(t.Context(), "x", "x", "key", func(target string) error {
		if err := os.WriteFile(target, []byte("half"), 0o755); err != nil {
			return err
		}
		return errors.New("no")
	})
	if err == nil {
		t.Fatal("no error")
	}
	left, err := filepath.Glob(filepath.Join(c.Dir, "x-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %v: %v", left, err)
	}
}

func TestDefaultDirCanBeSet(t *testing.T) {
	t.Setenv("WEFT_LAB_CACHE", "/somewhere/else")
	if dir, err := DefaultDir(); err != nil || dir != "/somewhere/else" {
		t.Errorf("%s: %v", dir, err)
	}
}
