// Package h2spec puts a listener that speaks HTTP/2 under the judgement of h2spec, each of its cases a test of ours. It owns how h2spec is
// built (from the version that tools/go.mod pins) and run, and how its report is read; it knows no listener, only addresses.
package h2spec

import (
	"encoding/xml"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Target is what is judged.
type Target struct {
	// Addr is where the listener is, "host:port". What it serves at Path must answer GET and POST with a body.
	Addr string
	// Path is "/" if it is empty.
	Path string
	// TLS: the listener speaks TLS, with whatever certificate, and chooses h2 by ALPN. Otherwise the client has prior knowledge.
	TLS bool
}

// report is h2spec's report, in the form that JUnit made popular.
type report struct {
	Suites []struct {
		Package string `xml:"package,attr"`
		Name    string `xml:"name,attr"`
		Cases   []struct {
			Name    string  `xml:"classname,attr"`
			Skipped *string `xml:"skipped"`
			Failure *string `xml:"failure"`
			Error   *string `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// Run runs the whole suite, the strict cases too, against a listener.
func Run(t *testing.T, target Target) {
	host, port, err := net.SplitHostPort(target.Addr)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.xml")
	args := []string{"tool", "h2spec", "--strict", "-o", "10", "-h", host, "-p", port, "-j", file}
	if target.Path != "" {
		args = append(args, "-P", target.Path)
	}
	if target.TLS {
		args = append(args, "--tls", "--insecure")
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join(root(t), "tools")
	out, err := cmd.CombinedOutput()
	text, readErr := os.ReadFile(file)
	if readErr != nil {
		t.Fatalf("h2spec wrote no report: %v\n%s", err, out)
	}
	var r report
	if err := xml.Unmarshal(text, &r); err != nil {
		t.Fatalf("the report of h2spec: %v", err)
	}
	cases := 0
	for _, suite := range r.Suites {
		for i, c := range suite.Cases {
			cases++
			t.Run(fmt.Sprintf("%s/%d", strings.TrimSpace(suite.Package), i+1), func(t *testing.T) {
				for _, bad := range []*string{c.Failure, c.Error} {
					if bad != nil {
						t.Errorf("%s: %s:\n%s", suite.Name, c.Name, *bad)
					}
				}
				if c.Skipped != nil {
					t.Skipf("h2spec skips it: %s: %s", suite.Name, c.Name)
				}
			})
		}
	}
	if cases < 140 {
		t.Errorf("h2spec ran %d cases:\n%s", cases, out)
	}
	if err != nil && !t.Failed() {
		t.Errorf("h2spec: %v\n%s", err, out)
	}
}

// root is the top of the repository.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("go env GOMOD: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}
