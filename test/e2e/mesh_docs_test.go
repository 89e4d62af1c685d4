package e2e

import (
	"os"
	"strings"
	"testing"
)

// step is a command of a page, and what its comment says that it prints.
type step struct{ command, want string }

// walkThrough reads the commands of docs/mesh.md: the lines of its blocks "console" that begin with "$ ". A line of output that follows must be in what the
// command prints, but for "..." at its end.
func walkThrough(t *testing.T) (steps []step) {
	t.Helper()
	text, err := os.ReadFile("../../docs/mesh.md")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch command, is := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside || line == "":
		case is:
			steps = append(steps, step{command: command})
		case len(steps) > 0 && steps[len(steps)-1].want == "":
			steps[len(steps)-1].want = strings.TrimSpace(strings.TrimSuffix(line, "..."))
		}
	}
	if len(steps) == 0 {
		t.Fatal("docs/mesh.md has no commands")
	}
	return steps
}
