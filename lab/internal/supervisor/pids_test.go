package supervisor

import "testing"

func TestNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		status        string
		parent, inner int
		ok            bool
	}{
		"machine":         {"Name:\tweft-lab\nPPid:\t100\nNSpid:\t210\t17\t1\n", 100, 17, true},
		"of no lab":       {"Name:\tsh\nPPid:\t1\nNSpid:\t210\n", 1, 0, false},
		"kernel without":  {"Name:\tsh\nPPid:\t1\n", 1, 0, false},
		"nothing":         {"", 0, 0, false},
		"name of a trick": {"Name:\tNSpid: 1 2\nPPid:\t7\nNSpid:\t8\t9\n", 7, 9, true},
	} {
		parent, inner, ok := numbers([]byte(c.status))
		if parent != c.parent || inner != c.inner || ok != c.ok {
			t.Errorf("%s: %d %d %v", name, parent, inner, ok)
		}
	}
}
