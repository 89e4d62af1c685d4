package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const ginkgoReport = `[{"RunTime": 720000000000, "SuiteConfig": {"ParallelTotal": 4}, "SpecReports": [
	{"LeafNodeType": "SynchronizedBeforeSuite", "State": "passed"},
	{"LeafNodeType": "It", "ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeText": "serve [Conformance]", "State": "passed"},
	{"LeafNodeType": "It", "ContainerHierarchyTexts": ["[sig-network] Services"], "LeafNodeText": "fall | over", "State": "failed",
	 "Failure": {"Message": "expected this\ngot that"}},
	{"LeafNodeType": "It", "ContainerHierarchyTexts": ["[sig-network] Netpol"], "LeafNodeText": "deny [Feature:NetworkPolicy]", "State": "skipped"},
	{"LeafNodeType": "It", "ContainerHierarchyTexts": ["[sig-network] DNS"], "LeafNodeText": "resolve [Provider:GCE]", "State": "skipped",
	 "Failure": {"Message": "Only supported for providers [gce]"}},
	{"LeafNodeType": "It", "ContainerHierarchyTexts": ["[sig-storage] Volumes"], "LeafNodeText": "mount", "State": "skipped"}
]}]`

func reportOf(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestEverySpecThatDidNotPassHasItsReason(t *testing.T) {
	run, err := readReport(reportOf(t, ginkgoReport))
	if err != nil {
		t.Fatal(err)
	}
	got := judge(run)
	policy, _ := reasonIn(leftOut, "[Feature:NetworkPolicy]")
	want := &results{
		took: 12 * time.Minute, procs: 4,
		passed: []verdict{{spec: spec{"Services serve [Conformance]", "passed", ""}}},
		failed: []verdict{{spec: spec{"Services fall | over", "failed", "expected this\ngot that"}}},
		skipped: []verdict{
			{spec: spec{"DNS resolve [Provider:GCE]", "skipped", "Only supported for providers [gce]"}, reason: "skips itself: Only supported for providers [gce]"},
			{spec: spec{"Netpol deny [Feature:NetworkPolicy]", "skipped", ""}, reason: policy},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(results{}, verdict{}, spec{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if u := got.unexplained(); len(u) != 1 || u[0].name != "Services fall | over" {
		t.Errorf("unexplained: %v", u)
	}
}

func TestSuiteThatNeverStartedIsAnError(t *testing.T) {
	_, err := readReport(reportOf(t, `[{"SpecReports": [{"LeafNodeType": "SynchronizedBeforeSuite", "State": "failed", "Failure": {"Message": "no nodes"}}]}]`))
	if err == nil || !strings.Contains(err.Error(), "no nodes") {
		t.Errorf("got %v, want what the suite said", err)
	}
}

func TestPageKeepsWhatIsAroundTheResults(t *testing.T) {
	run, err := readReport(reportOf(t, ginkgoReport))
	if err != nil {
		t.Fatal(err)
	}
	r := judge(run)
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte("# Page\n"+pageBegin+"\nold\n"+pageEnd+"\nend\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it changes nothing
		if err := r.writePage(file, "v1.2.3"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	policy, _ := reasonIn(leftOut, "[Feature:NetworkPolicy]")
	want := "# Page\n" + pageBegin + `

Kubernetes v1.2.3, the suite ` + "`[sig-network]`" + `; the specs took about 12 minutes, 4 at a time.

| specs | passed | failed | not run |
|---|---:|---:|---:|
| conformance | 1 | 0 | 0 |
| others | 0 | 1 | 2 |

### What fails

| spec | why |
|---|---|
| Services fall \| over | not known yet |

### What is not run

- **` + policy + `** (1)
  - Netpol deny \[Feature:NetworkPolicy\]
- **skips itself: Only supported for providers \[gce\]** (1)
  - DNS resolve \[Provider:GCE\]

### What passes

- Services serve \[Conformance\]

` + pageEnd + "\nend\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestRulesCanBeRead(t *testing.T) {
	for _, rules := range [][]rule{leftOut, known} {
		for _, r := range rules {
			if _, err := regexp.Compile(r.specs); err != nil || r.reason == "" {
				t.Errorf("%q: %v; its reason is %q", r.specs, err, r.reason)
			}
		}
	}
}
