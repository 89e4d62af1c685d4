package announce

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func addresses(n int) (out []netip.Addr) {
	for i := range n {
		out = append(out, netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}))
		out = append(out, netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i)}))
	}
	return out
}

// TestOwnerIsAContract fails if another version of weft would choose other nodes.
func TestOwnerIsAContract(t *testing.T) {
	nodes := []string{"node-a", "node-b", "node-c"}
	for addr, want := range map[string]string{
		"192.0.2.80": "node-b", "192.0.2.81": "node-c", "192.0.2.82": "node-a", "fd00:2::80": "node-b", "fd00:2::81": "node-a",
	} {
		if got := Owner(netip.MustParseAddr(addr), nodes); got != want {
			t.Errorf("Owner(%s) = %s, want %s", addr, got, want)
		}
	}
}

func TestOwner(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.80")
	nodes := []string{"a", "b", "c", "d"}
	want := Owner(addr, nodes)
	for range 4 {
		nodes = append(nodes[1:], nodes[0])
		if got := Owner(addr, nodes); got != want {
			t.Errorf("Owner with %v = %s, want %s", nodes, got, want)
		}
	}
	if got := Owner(netip.MustParseAddr("::ffff:192.0.2.80"), nodes); got != want {
		t.Errorf("Owner of the mapped address = %s, want %s", got, want)
	}
	if got := Owner(addr, append(nodes, nodes...)); got != want {
		t.Errorf("Owner with everybody twice = %s, want %s", got, want)
	}
	if got := Owner(addr, nil); got != "" {
		t.Errorf("Owner without candidates = %q", got)
	}
}

func TestOwnerMovesOnlyWhatItMust(t *testing.T) {
	var nodes []string
	for i := range 10 {
		nodes = append(nodes, fmt.Sprintf("node-%d", i))
	}
	all := addresses(2000)
	for _, gone := range nodes {
		rest := slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == gone })
		heirs, moved := map[string]int{}, 0
		for _, addr := range all {
			before, after := Owner(addr, nodes), Owner(addr, rest)
			switch {
			case before == gone:
				heirs[after]++
				moved++
			case before != after:
				t.Fatalf("%v moved from %s to %s when %s went", addr, before, after, gone)
			}
		}
		if fair := len(all) / len(nodes); moved < fair*8/10 || moved > fair*12/10 {
			t.Errorf("%s had %d of %d addresses", gone, moved, len(all))
		}
		if len(heirs) != len(rest) {
			t.Errorf("what %s had went to %d nodes only", gone, len(heirs))
		}
	}
}
