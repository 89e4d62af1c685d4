package finding_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/finding"
)

var web = finding.Object{Kind: "Service", Namespace: "shop", Name: "web"}

func TestString(t *testing.T) {
	for _, c := range []struct {
		f    finding.Finding
		want string
	}{
		{
			finding.Finding{Object: web, Field: "spec.ports[0].nodePort", Severity: finding.Error, Code: "node-port-taken", Message: "taken by Service shop/old"},
			"error Service shop/web spec.ports[0].nodePort: taken by Service shop/old (node-port-taken)",
		},
		{
			finding.Finding{Object: finding.Object{Kind: "Node", Name: "n1"}, Message: "two\nlines"},
			"info Node n1: two lines",
		},
	} {
		if got := c.f.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestJSON(t *testing.T) {
	f := finding.Finding{Object: web, Severity: finding.Warning, Code: "c", Message: "m"}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"object":{"kind":"Service","namespace":"shop","name":"web"},"severity":"warning","code":"c","message":"m"}`
	if string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	var back finding.Finding
	if err := json.Unmarshal(text, &back); err != nil || back != f {
		t.Errorf("came back as %v, %v", back, err)
	}
	if json.Unmarshal([]byte(`{"severity":"grave"}`), &back) == nil {
		t.Error("an unknown severity was taken")
	}
	if _, err := json.Marshal(finding.Severity(9)); err == nil {
		t.Error("an unknown severity was written")
	}
}

func TestCompare(t *testing.T) {
	old := finding.Object{Kind: "Service", Namespace: "shop", Name: "old"}
	want := []finding.Finding{
		{Object: finding.Object{Kind: "Node", Name: "z"}},
		{Object: old},
		{Object: web, Severity: finding.Error, Field: "b"},
		{Object: web, Severity: finding.Warning, Field: "a"},
		{Object: web, Field: "a", Code: "a"},
		{Object: web, Field: "a", Code: "b", Message: "a"},
		{Object: web, Field: "a", Code: "b", Message: "b"},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, finding.Compare)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
