package proxy_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// inNamespace runs the test that calls it once more, in a process in a network namespace of its own, and is true there; outside the test is over. lo is
// up there, with the addresses of a Pod and of its clients: 10.0.0.1 and fd00::1, 10.0.0.2 and fd00::2, of another Pod 10.0.0.3, and ::6 beside 127.0.0.6.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const inside = "WEFT_TEST_NAMESPACE"
	if os.Getenv(inside) != "" {
		for _, words := range []string{
			"link set lo up", "addr add 10.0.0.1/32 dev lo", "addr add 10.0.0.2/32 dev lo", "addr add 10.0.0.3/32 dev lo", "-6 addr add fd00::1/128 dev lo nodad",
			"-6 addr add fd00::2/128 dev lo nodad", "-6 addr add ::6/128 dev lo nodad",
		} {
			must(t, nil, "ip", strings.Fields(words)...)
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: redirects in a network namespace", tool)
		}
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "2m")
	c.Env = append(os.Environ(), inside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := c.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("needs CAP_SYS_ADMIN: makes a network namespace")
	}
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	if err != nil {
		t.Error(err)
	}
	return false
}

func must(t *testing.T, in []byte, name string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Stdin = strings.NewReader(string(in))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// redirect turns what clients, by their addresses, send anywhere but to the port itself to a port of this namespace.
func redirect(t *testing.T, port string) {
	t.Helper()
	must(t, []byte(`table inet test { chain output { type nat hook output priority -100;
		ip saddr 10.0.0.2 tcp dport != `+port+` redirect to :`+port+`
		ip6 saddr fd00::2 tcp dport != `+port+` redirect to :`+port+`
	}
	}`), "nft", "-f", "-")
}
