package nftables_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/serviceproxy/behaviour"
	"github.com/weftmesh/weft/internal/serviceproxy/fake"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

func TestContract(t *testing.T) {
	kernels := map[*testing.T]*behaviour.NetNS{}
	fake.Contract(t, func(t *testing.T) plan.Backend {
		if kernels[t] == nil {
			kernels[t] = behaviour.NewNetNS(t, "node")
		}
		return open(t, kernels[t])
	})
}

func TestRestoreOfWhatIsThereChangesNothing(t *testing.T) {
	n := behaviour.NewNetNS(t, "node")
	b := open(t, n)
	all := varied()
	restore(t, b, all)
	// Slots that are not in order, as a plan's history leaves them.
	f := *all[5]
	f.Endpoints = f.Endpoints[1:]
	all[5] = &f
	if _, err := b.Apply(t.Context(), &plan.Diff{Set: []*plan.Frontend{&f}}); err != nil {
		t.Fatal(err)
	}
	var r plan.Result
	events := monitor(t, n, func() { r = restore(t, open(t, n), all) })
	if events != "" || r.Elements != 0 {
		t.Errorf("%d elements, nft monitor says:\n%s", r.Elements, events)
	}
}

func TestRestoreSendsTheDifference(t *testing.T) {
	n := behaviour.NewNetNS(t, "node")
	all := varied()
	restore(t, open(t, n), all)
	all = slices.Delete(all, 5, 6)
	events := monitor(t, n, func() { restore(t, open(t, n), all) })
	for line := range strings.Lines(events) {
		if !strings.HasPrefix(line, "delete element ") {
			t.Errorf("unexpected: %s", line)
		}
	}
	if !strings.Contains(events, "services { fd00:10:96::5 . 6 . 80 : goto lb-3 }") {
		t.Errorf("no deletion in:\n%s", events)
	}
	if got := listing(t, n); got != listing(t, fresh(t, all)) {
		t.Errorf("is not as if made anew:\n%s", got)
	}
}

// fresh is a namespace in which these frontends are carried from the beginning.
func fresh(t *testing.T, fs []*plan.Frontend) *behaviour.NetNS {
	n := behaviour.NewNetNS(t, "fresh")
	restore(t, open(t, n), fs)
	return n
}

func TestRestoreRepairsWhatOthersDid(t *testing.T) {
	all := varied()
	want := listing(t, fresh(t, all))
	for name, commands := range map[string][]string{
		"element removed":          {"delete element ip weft-v1 services { 10.96.0.0 . tcp . 80 }"},
		"element added":            {"add element ip weft-v1 services { 10.96.9.9 . tcp . 80 : drop }"},
		"element changed":          {"delete element ip weft-v1 services { 10.96.0.0 . tcp . 80 }", "add element ip weft-v1 services { 10.96.0.0 . tcp . 80 : drop }"},
		"shared elements":          {"add element ip weft-v1 vips { 10.96.9.9 }", "add element ip weft-v1 hairpin { 1.2.3.4 . 5.6.7.8 }", "delete element ip weft-v1 vips { 10.96.0.0 }"},
		"rule added":               {"insert rule ip weft-v1 services drop"},
		"rule in a balancer added": {"insert rule ip6 weft-v1 lb-3 drop"},
		"rules removed":            {"flush chain ip weft-v1 nat-postrouting"},
		"balancer emptied":         {"flush chain ip weft-v1 lb-3"},
		"chain added":              {"add chain ip weft-v1 mine { type filter hook input priority 0; }", "add rule ip weft-v1 mine drop"},
		"chain with users added":   {"add chain ip weft-v1 mine", "insert rule ip weft-v1 services jump mine", "add element ip weft-v1 services { 10.96.9.9 . tcp . 80 : goto mine }"},
		"set added":                {"add set ip weft-v1 mine { type ipv4_addr; }", "insert rule ip weft-v1 services ip saddr @mine drop"},
		"table removed":            {"delete table ip weft-v1"},
		"table asleep":             {"add table ip weft-v1 { flags dormant; }"},
		"everything removed":       {"flush ruleset"},
		"policy changed":           {"add chain ip weft-v1 filter-forward { policy drop; }"},
		"other schema":             {"add table ip weft-v0", "add table ip6 weft-v99"},
	} {
		t.Run(name, func(t *testing.T) {
			n := behaviour.NewNetNS(t, "node")
			b := open(t, n)
			restore(t, b, all)
			for _, c := range commands {
				nft(t, n, c)
			}
			if name != "other schema" && listing2(t, n) == want {
				t.Fatal("the command changed nothing")
			}
			restore(t, b, all)
			if got := listing(t, n); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if tables := strings.Fields(nft(t, n, "list", "tables")); len(tables) != 6 {
				t.Errorf("tables left: %q", tables)
			}
			if r := restore(t, open(t, n), all); r.Elements != 0 {
				t.Errorf("the second time %d elements were not right", r.Elements)
			}
		})
	}
}

// listing2 is listing where there may be no table.
func listing2(t *testing.T, n *behaviour.NetNS) string {
	if tables := nft(t, n, "list", "tables"); strings.Count(tables, "weft-v1") != 2 {
		return ""
	}
	return listing(t, n)
}

func TestApplyEndsWhereRestoreDoes(t *testing.T) {
	n := behaviour.NewNetNS(t, "node")
	b := open(t, n)
	restore(t, b, nil)
	for _, f := range varied() {
		if r, err := b.Apply(t.Context(), &plan.Diff{Set: []*plan.Frontend{f}}); err != nil || len(r.Refused) > 0 {
			t.Fatal(r, err)
		}
	}
	if got, want := listing(t, n), listing(t, fresh(t, varied())); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var d plan.Diff
	for _, f := range varied() {
		d.Delete = append(d.Delete, f.Key)
	}
	if _, err := b.Apply(t.Context(), &d); err != nil {
		t.Fatal(err)
	}
	if r := restore(t, open(t, n), nil); r.Elements != 0 {
		t.Errorf("%d elements were left", r.Elements)
	}
}
