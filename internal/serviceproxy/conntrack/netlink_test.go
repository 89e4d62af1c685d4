//go:build linux

package conntrack

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// enterNamespace puts the test into a network namespace of its own. The thread is thrown away at the end.
func enterNamespace(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	runtime.LockOSThread() // never unlocked: the runtime then ends the thread with the goroutine
	ns, err := netns.New()
	if errors.Is(err, unix.EPERM) {
		t.Skipf("needs CAP_SYS_ADMIN: make a network namespace: %v", err)
	}
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	if _, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET); err != nil {
		t.Skipf("needs conntrack over netlink (nf_conntrack_netlink): %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IP{192, 0, 2, 1}, Mask: net.CIDRMask(32, 32)}}
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.AddrAdd(lo, addr)); err != nil {
		t.Fatal(err)
	}
}

// addFlow makes a conntrack entry as translation would have left it: a client dialled one address and another one answers.
func addFlow(t testing.TB, proto model.Protocol, client, dialled, answers string) {
	t.Helper()
	c, d, a := netip.MustParseAddrPort(client), netip.MustParseAddrPort(dialled), netip.MustParseAddrPort(answers)
	family := netlink.InetFamily(unix.AF_INET)
	if c.Addr().Is6() {
		family = unix.AF_INET6
	}
	f := &netlink.ConntrackFlow{
		FamilyType: uint8(family), TimeOut: 600,
		Forward: netlink.IPTuple{SrcIP: c.Addr().AsSlice(), DstIP: d.Addr().AsSlice(), SrcPort: c.Port(), DstPort: d.Port(), Protocol: uint8(proto)},
		Reverse: netlink.IPTuple{SrcIP: a.Addr().AsSlice(), DstIP: c.Addr().AsSlice(), SrcPort: a.Port(), DstPort: c.Port(), Protocol: uint8(proto)},
	}
	if proto == model.TCP {
		f.ProtoInfo = &netlink.ProtoInfoTCP{State: 3} // established
	}
	if err := netlink.ConntrackCreate(netlink.ConntrackTable, family, f); err != nil {
		t.Fatalf("create %v flow %s > %s: %v", proto, client, dialled, err)
	}
}

// flows lists the kernel's entries as "UDP dialled>answers", by the netlink library and so not by the code under test.
func flows(t testing.TB) (out []string) {
	t.Helper()
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			out = append(out, fmt.Sprintf("%v %v:%d>%v:%d", model.Protocol(f.Forward.Protocol), f.Forward.DstIP, f.Forward.DstPort, f.Reverse.SrcIP, f.Reverse.SrcPort))
		}
	}
	slices.Sort(out)
	return out
}

func open(t testing.TB) *Cleaner {
	t.Helper()
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestCleanKernel(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	addFlow(t, model.UDP, "10.1.9.9:1001", "10.96.0.10:53", "10.1.0.1:53")
	addFlow(t, model.UDP, "10.1.9.9:1002", "10.96.0.10:53", "10.1.0.2:53")      // gone
	addFlow(t, model.UDP, "10.1.9.9:1003", "10.96.0.10:53", "10.96.0.10:53")    // began too early
	addFlow(t, model.TCP, "10.1.9.9:1004", "10.96.0.10:53", "10.1.0.2:53")      // not ours to end
	addFlow(t, model.UDP, "10.1.9.9:1005", "10.96.0.77:53", "10.1.0.2:53")      // unchanged frontend
	addFlow(t, model.UDP, "10.1.9.9:1006", "192.0.2.1:30053", "10.1.0.2:53")    // node port, gone
	addFlow(t, model.UDP, "10.1.9.9:1007", "198.51.100.7:30053", "10.1.0.2:53") // somebody else's port
	addFlow(t, model.UDP, "[fd01::99]:1008", "[fd00::10]:53", "[fd01::1]:53")
	addFlow(t, model.UDP, "[fd01::99]:1009", "[fd00::10]:53", "[fd01::2]:53") // gone
	addFlow(t, model.UDP, "10.1.9.9:1010", "10.96.0.12:53", "10.1.0.2:53")    // frontend gone

	got, err := c.Clean(t.Context(), &plan.Diff{
		Set: []*plan.Frontend{
			frontend(model.UDP, "10.96.0.10:53", "10.1.0.1:53"),
			frontend(model.TCP, "10.96.0.10:53", "10.1.0.1:53"),
			frontend(model.UDP, "[fd00::10]:53", "[fd01::1]:53"),
			nodePort(30053, "10.1.0.1:53"),
		},
		Delete: []plan.Key{frontend(model.UDP, "10.96.0.12:53").Key},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Deleted != 5 {
		t.Errorf("deleted %d flows, want 5", got.Deleted)
	}
	want := []string{
		"TCP 10.96.0.10:53>10.1.0.2:53",
		"UDP 10.96.0.10:53>10.1.0.1:53",
		"UDP 10.96.0.77:53>10.1.0.2:53",
		"UDP 198.51.100.7:30053>10.1.0.2:53",
		"UDP fd00::10:53>fd01::1:53",
	}
	if diff := cmp.Diff(want, flows(t)); diff != "" {
		t.Errorf("flows left (-want +got):\n%s", diff)
	}
}

func TestDumpIsFilteredInTheKernel(t *testing.T) {
	enterNamespace(t)
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	fmt.Sscanf(unix.ByteSliceToString(uts.Release[:]), "%d.%d", &major, &minor)
	if major < 5 || major == 5 && minor < 8 {
		t.Skip("needs Linux 5.8: CTA_FILTER")
	}
	c := open(t)
	for i := range 20 {
		addFlow(t, model.TCP, fmt.Sprintf("10.1.9.9:%d", 2000+i), "10.96.0.10:80", "10.1.0.1:80")
	}
	addFlow(t, model.UDP, "10.1.9.9:1001", "10.96.0.10:53", "10.1.0.2:53")
	addFlow(t, model.UDP, "[fd01::99]:1001", "[fd00::10]:53", "[fd01::2]:53")
	got, err := c.Clean(t.Context(), &plan.Diff{Delete: []plan.Key{frontend(model.UDP, "10.96.0.10:53").Key}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Result{Seen: 1, Deleted: 1}, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestCleanOfTCPAloneAsksNothing(t *testing.T) {
	enterNamespace(t)
	c := open(t)
	addFlow(t, model.UDP, "10.1.9.9:1001", "10.96.0.10:53", "10.1.0.2:53")
	got, err := c.Clean(t.Context(), &plan.Diff{Set: []*plan.Frontend{frontend(model.TCP, "10.96.0.10:53", "10.1.0.1:53")}})
	if err != nil || got.Seen != 0 {
		t.Errorf("Clean = %+v, %v; want no dump", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 8, 0, 1, 0x80, 4, 0, 1, 0x80})
	f.Fuzz(func(_ *testing.T, b []byte) { parse(b) })
}

// BenchmarkClean deletes nothing: what it costs to look through a table of 10,000 TCP flows and 1,000 UDP flows.
func BenchmarkClean(b *testing.B) {
	enterNamespace(b)
	c := open(b)
	for i := range 10_000 {
		addFlow(b, model.TCP, fmt.Sprintf("10.1.9.9:%d", 10_000+i), "10.96.0.10:80", "10.1.0.1:80")
	}
	for i := range 1_000 {
		addFlow(b, model.UDP, fmt.Sprintf("10.1.9.9:%d", 10_000+i), "10.96.0.10:53", "10.1.0.1:53")
	}
	diff := &plan.Diff{Set: []*plan.Frontend{frontend(model.UDP, "10.96.0.10:53", "10.1.0.1:53")}}
	for b.Loop() {
		if _, err := c.Clean(b.Context(), diff); err != nil {
			b.Fatal(err)
		}
	}
}
