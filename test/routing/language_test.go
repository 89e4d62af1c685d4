package routing

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	f, err := Parse("f", `# about the file
-- objects --
kind: Service
-- cases --
# one
POST http://a.test/x?y=z
> X-A: b:c
> body hello
< 200
< to p q
< share p 90%
< rule VirtualService default/a spec.http[0]
< sees path /x
< sees x-b: c
< sees no x-d
< header x-e: f
< no header x-g
< body text of it

GRPC https://b.test/s/m
< grpc 0
TCP c.test:9000
< closed
`)
	if err != nil {
		t.Fatal(err)
	}
	if f.Objects != "kind: Service\n" || len(f.Cases) != 3 {
		t.Fatalf("%+v", f)
	}
	c := f.Cases[0]
	text := func(s string) *string { return &s }
	if d := cmp.Diff([]Field{{":path", text("/x")}, {"x-b", text("c")}, {"x-d", nil}}, c.Sees); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Field{{"x-e", text("f")}, {"x-g", nil}}, c.Answers); d != "" {
		t.Error(d)
	}
	if c.Method != "POST" || c.Port != 80 || c.Headers[0] != [2]string{"X-A", "b:c"} || c.Body != "hello" || c.Status != 200 || *c.Text != "text of it" ||
		c.Rule != "VirtualService default/a spec.http[0]" || c.Shares[0].Share != 0.9 || len(c.To) != 2 || c.Comment != "one" || c.Line != 6 {
		t.Errorf("%+v", c)
	}
	if c := f.Cases[1]; c.Port != 443 || c.GRPC != 0 {
		t.Errorf("%+v", c)
	}
	if c := f.Cases[2]; c.Port != 9000 || !c.Closed || c.GRPC != -1 {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{"GET", "GET http://a.test/", "GET http://a.test:x/\n< 200", "GET http://a.test/\n< twice", "GET http://a.test/\n> nothing", "GET http://a.test/\n< share 50%", "< 200"} {
		if _, err := Parse("bad", "-- cases --\n"+bad); err == nil || !strings.HasPrefix(err.Error(), "bad:") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// asker answers all the same.
type asker struct {
	answers []Answer
	asked   int
}

func (a *asker) Ask(context.Context, Case) (Answer, error) {
	a.asked++
	return a.answers[a.asked%len(a.answers)], nil
}

func TestCheck(t *testing.T) {
	from := func(name string) Answer {
		return Answer{Status: 200, GRPC: -1, Header: http.Header{"X-A": {"1"}}, Body: "b\n", Seen: &Seen{Name: name, Path: "/p", Headers: map[string]string{"x-s": "1"}}}
	}
	both := []Answer{from("p"), from("q")}
	for _, c := range []struct {
		expect  string
		answers []Answer
		want    string // part of the complaint; "" is none
	}{
		{"< 200", both, ""},
		{"< 404", both, "status 200"},
		{"< grpc 0", both, "gRPC status -1"},
		{"< closed", both, "closed"},
		{"< 200", []Answer{{Closed: true}}, "closed"},
		{"< body b", both, ""},
		{"< body c", both, "body"},
		{"< to p q", both, ""},
		{"< to p", both, `"q" answered`},
		{"< to p q r", both, "only [p q] answered"},
		{"< to p", []Answer{{Status: 503}}, "no endpoint answered"},
		{"< share p 50%\n< share q 50%", both, ""},
		{"< share p 40%", both, "answered 1000 of 2000, want 800"},
		{"< 200\n< sees path /p\n< sees x-s: 1\n< sees no x-t", both, ""},
		{"< 200\n< sees path /o", both, `:path "/p"`},
		{"< 200\n< sees x-t: 1", both, "x-t is missing"},
		{"< 200\n< sees no x-s", both, `x-s "1", want none`},
		{"< 200\n< header x-a: 1\n< no header x-b", both, ""},
		{"< 200\n< no header x-a", both, "want none"},
		{"< 200\n< sees x-s: 1", []Answer{{Status: 200}}, "no endpoint answered"},
	} {
		f, err := Parse("f", "-- cases --\nGET http://a.test/\n"+c.expect)
		if err != nil {
			t.Fatal(err)
		}
		err = Check(t.Context(), &asker{answers: c.answers}, f.Cases[0])
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.expect, err, c.want)
		}
	}
}

// Every file can be read, names only endpoints that there are, and there are enough cases of each kind.
func TestFiles(t *testing.T) {
	files, err := Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	world, err := os.ReadFile("testdata/world.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cases, grpc := 0, 0
	for _, f := range files {
		endpoints, err := Endpoints(string(world) + "\n---\n" + f.Objects)
		if err != nil {
			t.Fatal(f.Name, err)
		}
		known := map[string]bool{}
		for _, e := range endpoints {
			known[e.Name] = true
		}
		for _, c := range f.Cases {
			cases++
			if c.Method == "GRPC" {
				grpc++
			}
			names := c.To
			for _, s := range c.Shares {
				names = append(names, s.Of...)
			}
			for _, name := range names {
				if !known[name] {
					t.Errorf("%s: %v: there is no endpoint %q", f.Name, c, name)
				}
			}
		}
	}
	if cases < 80 || grpc < 10 {
		t.Errorf("%d cases, %d of them gRPC; want at least 80 and 10", cases, grpc)
	}
}
