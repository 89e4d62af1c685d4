package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"    good_test.go:7: chatter\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"--- PASS: TestGood (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestRoot","Output":"=== RUN   TestRoot\n"}
{"Action":"output","Package":"p","Test":"TestRoot","Output":"    root_test.go:9: needs root: network namespaces\n"}
{"Action":"output","Package":"p","Test":"TestRoot","Output":"--- SKIP: TestRoot (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestRoot"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    bad_test.go:3: broken\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestHang","Output":"still here\n"}
{"ImportPath":"q","Action":"build-output","Output":"q.go:1: syntax error\n"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.01s\n"}
{"Action":"fail","Package":"p"}
`

func TestFollow(t *testing.T) {
	var shown strings.Builder
	got, err := follow(strings.NewReader(sample), &shown, false)
	if err != nil {
		t.Fatal(err)
	}
	want := []result{
		{"p", "TestGood", "pass", ""},
		{"p", "TestRoot", "skip", "needs root: network namespaces"},
		{"p", "TestBad", "fail", ""},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	text := "--- FAIL: TestBad\n    bad_test.go:3: broken\nq.go:1: syntax error\nok  \tp\t0.01s\nstill here\n"
	if d := cmp.Diff(text, shown.String()); d != "" {
		t.Error(d)
	}
}

func TestFollowStopsAtNonsense(t *testing.T) {
	if _, err := follow(strings.NewReader("go: no such thing"), &strings.Builder{}, false); err == nil {
		t.Error("no error for what is no JSON")
	}
}

func TestAccountAddsUp(t *testing.T) {
	account := filepath.Join(t.TempDir(), "account")
	for _, r := range []result{{"p", "TestB", "skip", "needs nft"}, {"p", "TestA", "pass", ""}, {"o", "TestC", "skip", "needs root"}} {
		if err := add(account, []result{r}); err != nil {
			t.Fatal(err)
		}
	}
	var sum strings.Builder
	if err := printSum(&sum, account); err != nil {
		t.Fatal(err)
	}
	want := "skipped:\n  o TestC: needs root\n  p TestB: needs nft\n1 passed, 0 failed, 2 skipped\n"
	if d := cmp.Diff(want, sum.String()); d != "" {
		t.Error(d)
	}
}

func TestNoTestIsAnError(t *testing.T) {
	account := filepath.Join(t.TempDir(), "account")
	if err := add(account, nil); err != nil {
		t.Fatal(err)
	}
	if err := printSum(&strings.Builder{}, account); err == nil {
		t.Error("no error though no test was run")
	}
}
