// Package house holds the rules of the house that neither the compiler nor a linter knows. Each test names the rule it keeps, and each failure
// says what to do. They read source text only, and need neither a build nor a network.
package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const modulePath = "github.com/weftmesh/weft"

// tree is the sources of the repository, read once for all tests.
type tree struct {
	root  string
	files []string           // everything that is tracked or could be, slash-separated, from the root
	pkgs  map[string]*folder // those with Go files, by path from the root
	fset  *token.FileSet
}

// folder is the Go files of one folder.
type folder struct {
	path  string
	files []*goFile
}

type goFile struct {
	path      string // from the root
	test      bool
	generated bool
	syntax    *ast.File
	lines     int
}

var load = sync.OnceValues(func() (*tree, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	git := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	out, err := git.Output()
	if err != nil {
		return nil, err
	}
	t := &tree{root: root, pkgs: map[string]*folder{}, fset: token.NewFileSet()}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(root, name)); err != nil {
			continue // removed, and not committed yet
		}
		t.files = append(t.files, name)
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "testdata/") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		syntax, err := parser.ParseFile(t.fset, name, text, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		dir := path.Dir(name)
		if t.pkgs[dir] == nil {
			t.pkgs[dir] = &folder{path: dir}
		}
		t.pkgs[dir].files = append(t.pkgs[dir].files, &goFile{
			path: name, syntax: syntax, test: strings.HasSuffix(name, "_test.go"),
			generated: ast.IsGenerated(syntax), lines: bytes.Count(text, []byte("\n")),
		})
	}
	return t, nil
})

func sources(t *testing.T) *tree {
	t.Helper()
	s, err := load()
	if err != nil {
		t.Fatalf("reading the sources: %v", err)
	}
	return s
}

// imports lists what a file imports.
func (f *goFile) imports() (out []string) {
	for _, i := range f.syntax.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// code lists the files that are compiled into what others import or run.
func (f *folder) code() (out []*goFile) {
	for _, g := range f.files {
		if !g.test {
			out = append(out, g)
		}
	}
	return out
}

// inMain tells whether a folder belongs to the main module, and is neither a test nor a tool.
func inMain(dir string) bool {
	for _, p := range [...]string{"lab", "test", "tools"} {
		if dir == p || strings.HasPrefix(dir, p+"/") {
			return false
		}
	}
	return true
}
