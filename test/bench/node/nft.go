package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/weftmesh/weft/test/bench/netspace"
)

// peerNft is `nft -f` with text of the known shape, as kube-proxy's nftables mode has it: a verdict map that leads to a chain for each
// Service, in it an anonymous verdict map that picks by random number, and a chain for each endpoint.
type peerNft struct {
	space *netspace.Space
	peak  int64 // bytes resident, of the largest nft so far
}

func newPeerNft() (*peerNft, error) {
	s, err := netspace.New()
	return &peerNft{space: s}, err
}

func (p *peerNft) close() { p.space.Close() }

// run feeds text to nft in the namespace and gives what nft cost.
func (p *peerNft) run(text string) (cost, error) {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := p.space.Do(cmd.Start); err != nil {
		return cost{}, fmt.Errorf("nft: %w", err)
	}
	err := cmd.Wait()
	c := cost{wall: time.Since(start), user: cmd.ProcessState.UserTime(), system: cmd.ProcessState.SystemTime()}
	c.cpu = c.user + c.system
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		p.peak = max(p.peak, u.Maxrss<<10)
	}
	if err != nil {
		return c, fmt.Errorf("nft -f: %w: %.300s", err, out.String())
	}
	return c, nil
}

const nftTable = "ip known-shape"

// whole is text that programs Services 0 to n-1 into an empty namespace.
func whole(n int) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("add table %s", nftTable)
	line("add map %s services { type ipv4_addr . inet_proto . inet_service : verdict ; }", nftTable)
	line("add chain %s mark-for-masquerade", nftTable)
	line("add rule %s mark-for-masquerade mark set mark or 0x4000", nftTable)
	line("add chain %s lookup", nftTable)
	line("add rule %s lookup ip daddr . meta l4proto . th dport vmap @services", nftTable)
	for _, hook := range []string{"prerouting", "output"} {
		line("add chain %s %s { type nat hook %s priority -100 ; }", nftTable, hook, hook)
		line("add rule %s %s jump lookup", nftTable, hook)
	}
	for i := range n {
		b.WriteString(add(i))
	}
	return b.String()
}

// add is text that adds a Service with its original endpoints, remove text that takes it away again.
func add(i int) (text string) {
	for _, ep := range original(i) {
		text += endpointChain(i, ep)
	}
	return text + fmt.Sprintf("add chain %s %s\n", nftTable, serviceChain(i)) + serviceRules(i, original(i)) +
		fmt.Sprintf("add element %s services { %s . tcp . %d : goto %s }\n", nftTable, clusterIP(i), servicePort, serviceChain(i))
}

func remove(i int) string {
	text := fmt.Sprintf("delete element %s services { %s . tcp . %d }\n", nftTable, clusterIP(i), servicePort)
	for _, c := range []string{serviceChain(i), chainOf(i, original(i)[0]), chainOf(i, original(i)[1])} {
		text += fmt.Sprintf("flush chain %[1]s %[2]s\ndelete chain %[1]s %[2]s\n", nftTable, c)
	}
	return text
}

// replace is text that gives a Service its changed endpoints, or with back its original ones.
func replace(i int, back bool) string {
	now, gone := changed(i), original(i)
	if back {
		now, gone = gone, now
	}
	return endpointChain(i, now[1]) +
		fmt.Sprintf("flush chain %s %s\n", nftTable, serviceChain(i)) + serviceRules(i, now) +
		fmt.Sprintf("flush chain %s %s\ndelete chain %s %s\n", nftTable, chainOf(i, gone[1]), nftTable, chainOf(i, gone[1]))
}

func serviceChain(i int) string {
	return fmt.Sprintf("service-%s/%s/tcp/http", namespace, serviceName(i))
}

func chainOf(i int, ep netip.Addr) string {
	return fmt.Sprintf("endpoint-%s/%s/tcp/http__%s/%d", namespace, serviceName(i), ep, endpointPort)
}

func endpointChain(i int, ep netip.Addr) string {
	c := chainOf(i, ep)
	return fmt.Sprintf("add chain %[1]s %[2]s\nadd rule %[1]s %[2]s ip saddr %[3]s jump mark-for-masquerade\nadd rule %[1]s %[2]s meta l4proto tcp dnat to %[3]s:%[4]d\n",
		nftTable, c, ep, endpointPort)
}

func serviceRules(i int, endpoints []netip.Addr) string {
	var picks []string
	for j, ep := range endpoints {
		picks = append(picks, fmt.Sprintf("%d : goto %s", j, chainOf(i, ep)))
	}
	return fmt.Sprintf("add rule %[1]s %[2]s ip daddr %[3]s tcp dport %[4]d ip saddr != %[5]s jump mark-for-masquerade\nadd rule %[1]s %[2]s numgen random mod %[6]d vmap { %[7]s }\n",
		nftTable, serviceChain(i), clusterIP(i), servicePort, podCIDR, len(endpoints), strings.Join(picks, " , "))
}
