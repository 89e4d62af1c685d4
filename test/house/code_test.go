package house

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// maxLines is where a file has become two ideas. Tests and generated code may be longer.
const maxLines = 500

func TestEveryPackageHasAComment(t *testing.T) {
	for dir, pkg := range sources(t).pkgs {
		documented, forTests := 0, true
		for _, f := range pkg.files {
			forTests = forTests && f.test
			if f.syntax.Doc != nil && len(strings.Fields(f.syntax.Doc.Text())) >= 8 {
				documented++
			}
		}
		switch {
		case documented == 0:
			t.Errorf("%s has no package comment: say what it owns and what it never does", dir)
		case documented > 1 && !forTests:
			t.Errorf("%s has package comments in %d files: keep one", dir, documented)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, pkg := range sources(t).pkgs {
		for _, f := range pkg.files {
			if f.lines > maxLines && !f.test && !f.generated {
				t.Errorf("%s has %d lines; over %d it is two ideas", f.path, f.lines, maxLines)
			}
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, pkg := range sources(t).pkgs {
		for _, f := range pkg.code() {
			for _, d := range f.syntax.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && !f.generated {
					t.Errorf("%s has an init function: nothing happens by being imported; wire it in cli", f.path)
				}
			}
		}
	}
}

// A package-level variable may hold what never changes (an error, a table, an embedded file). State belongs to a value that somebody made.
func TestNoGlobalState(t *testing.T) {
	src := sources(t)
	for dir, pkg := range src.pkgs {
		if !inMain(dir) {
			continue
		}
		vars := map[string]bool{}
		for _, f := range pkg.code() {
			if f.generated {
				continue
			}
			for _, d := range f.syntax.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, s := range g.Specs {
					v := s.(*ast.ValueSpec)
					if len(v.Values) == 0 && !embeds(g.Doc) && !embeds(v.Doc) {
						t.Errorf("%s: package-level var %s has no value, so somebody sets it later: make it a field of what owns it", f.path, v.Names[0].Name)
					}
					for _, n := range v.Names {
						vars[n.Name] = true
					}
				}
			}
		}
		for _, f := range pkg.code() {
			for _, id := range assigned(f.syntax) {
				if id.Name != "_" && vars[id.Name] && isPackageLevel(f.syntax, id) {
					t.Errorf("%s changes the package-level var %s: make it a field of what owns it", src.fset.Position(id.Pos()), id.Name)
				}
			}
		}
	}
}

// embeds tells whether a comment holds a go:embed directive.
func embeds(c *ast.CommentGroup) bool {
	if c == nil {
		return false
	}
	for _, l := range c.List {
		if strings.HasPrefix(l.Text, "//go:embed ") {
			return true
		}
	}
	return false
}

// assigned lists the variables that a file assigns to, whole or in part (x = 1, x.f = 1, x[k] = 1, x++).
func assigned(f *ast.File) (out []*ast.Ident) {
	add := func(e ast.Expr) {
		for {
			switch x := e.(type) {
			case *ast.SelectorExpr:
				e = x.X
			case *ast.IndexExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.Ident:
				out = append(out, x)
				return
			default:
				return
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				for _, e := range s.Lhs {
					add(e)
				}
			}
		case *ast.IncDecStmt:
			add(s.X)
		}
		return true
	})
	return out
}

// isPackageLevel tells whether an identifier means something declared at the top of a file of its package: of this file, or (then the parser
// leaves it unresolved) of another.
func isPackageLevel(f *ast.File, id *ast.Ident) bool {
	return id.Obj == nil || f.Scope.Lookup(id.Name) == id.Obj
}
