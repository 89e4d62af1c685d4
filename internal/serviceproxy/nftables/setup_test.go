package nftables_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/behaviour"
	"github.com/weftmesh/weft/internal/serviceproxy/nftables"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// config is the one of the tests here.
func config() plan.Config {
	return plan.Config{
		ClusterCIDRs:   []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56")},
		VirtualRanges:  []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")},
		MasqueradeMark: 0x4000,
	}
}

func open(t testing.TB, n *behaviour.NetNS) *nftables.Backend {
	t.Helper()
	b, err := nftables.New(config(), nftables.Options{NetNS: n.FD()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// services makes n frontends of cluster addresses in both families, with k endpoints each.
func services(n, k int) (out []*plan.Frontend) {
	for i := range n {
		f := &plan.Frontend{
			Key:     plan.Key{Addr: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), Family: plan.IPv4, Protocol: model.TCP, Port: 80},
			Service: model.ServiceName{Namespace: "default", Name: fmt.Sprintf("svc-%d", i)},
		}
		if i%2 == 1 {
			a := netip.MustParseAddr("fd00:10:96::").As16()
			a[14], a[15] = byte(i>>8), byte(i)
			f.Addr, f.Family = netip.AddrFrom16(a), plan.IPv6
		}
		for e := range k {
			f.Endpoints = append(f.Endpoints, endpoint(f.Family, i*k+e))
		}
		out = append(out, f)
	}
	return out
}

func endpoint(f plan.Family, n int) netip.AddrPort {
	if f == plan.IPv4 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(n >> 8), byte(n)}), 8080)
	}
	a := netip.MustParseAddr("fd00:10:244::").As16()
	a[13], a[14], a[15] = byte(n>>16), byte(n>>8), byte(n)
	return netip.AddrPortFrom(netip.AddrFrom16(a), 8080)
}

// varied is frontends of every sort.
func varied() []*plan.Frontend {
	all := services(12, 3)
	all[0].Affinity, all[1].Affinity = 3*time.Hour, 3*time.Hour
	all[2].Endpoints, all[3].Endpoints = nil, nil
	all[4].Endpoints, all[4].OnEmpty = nil, plan.Drop
	for i, f := range all[6:10] {
		f.Kind = plan.LoadBalancerIP
		f.ExternalLocal, f.Local = true, f.Endpoints[:i%2]
	}
	all[6].SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("198.51.100.1/32")}
	all[7].SourceRanges = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::/0")}
	all[8].SourceRanges = []netip.Prefix{}
	for i, f := range all[10:] {
		f.Kind, f.Addr, f.Key.Port = plan.NodePort, netip.Addr{}, uint16(30000+i)
	}
	return all
}

func restore(t testing.TB, b *nftables.Backend, fs []*plan.Frontend) plan.Result {
	t.Helper()
	r, err := b.Restore(context.Background(), fs)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Refused {
		t.Errorf("refused %v: %v", x.Key, x.Err)
	}
	return r
}

// nft runs the nft command in a namespace, for a second opinion and for the part of somebody who meddles.
func nft(t *testing.T, n *behaviour.NetNS, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs the nft command")
	}
	var out, errs bytes.Buffer
	err := n.Do(func() error {
		c := exec.Command("nft", args...)
		c.Stdout, c.Stderr = &out, &errs
		return c.Run()
	})
	if err != nil {
		t.Fatalf("nft %q: %v\n%s", args, err, errs.String())
	}
	return out.String()
}

// monitor runs f and gives what nft says has changed meanwhile.
func monitor(t *testing.T, n *behaviour.NetNS, f func()) string {
	t.Helper()
	for _, tool := range [...]string{"nft", "stdbuf"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs the %s command", tool)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var c *exec.Cmd
	err = n.Do(func() error {
		c = exec.Command("stdbuf", "-oL", "nft", "-nn", "monitor")
		c.Stdout = w
		return c.Start()
	})
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1<<16)
	go func() {
		defer close(lines)
		buf := make([]byte, 1<<16)
		for {
			n, err := r.Read(buf)
			if err != nil {
				return
			}
			lines <- string(buf[:n])
		}
	}()
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	// The monitor says nothing when it is ready, so tables are made until it shows one, and another marks the end.
	var got strings.Builder
	mark := func(name string) {
		deadline := time.After(20 * time.Second)
		for i := 0; !strings.Contains(got.String(), name); i++ {
			nft(t, n, "add", "table", "ip", fmt.Sprintf("%s%d", name, i))
			select {
			case l := <-lines:
				got.WriteString(l)
			case <-time.After(50 * time.Millisecond):
			case <-deadline:
				t.Fatalf("nft monitor never showed %s: %q", name, got.String())
			}
		}
	}
	mark("begin")
	f()
	mark("finish")
	var out []string
	for line := range strings.Lines(got.String()) {
		if !strings.Contains(line, "begin") && !strings.Contains(line, "finish") && !strings.HasPrefix(line, "# new generation") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// listing is what nft shows of our tables, in an order that does not depend on hashing.
func listing(t *testing.T, n *behaviour.NetNS) string {
	var lines []string
	for _, fam := range [...]string{"ip", "ip6"} {
		chain := ""
		for line := range strings.Lines(nft(t, n, "-nn", "list", "table", fam, "weft-v1")) {
			if trimmed := strings.TrimSpace(line); strings.HasSuffix(trimmed, "{") {
				chain = trimmed
			}
			for _, part := range strings.Split(strings.Trim(strings.TrimSpace(line), ",{}"), ", ") {
				part = strings.TrimSpace(strings.TrimPrefix(part, "elements = {"))
				lines = append(lines, fam+" "+chain+" "+part)
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}
