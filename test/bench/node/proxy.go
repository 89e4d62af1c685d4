package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weftmesh/weft/test/bench/netspace"
)

// proxy is a Service proxy on a node of the lab, as a process.
type proxy struct {
	name    string
	machine labMachine
	argv    []string
	mounts  bool // it needs the node's files, too
	tables  []string
	space   *netspace.Space
	ones    int // how often a single change is made in a round

	cmd *exec.Cmd
	log bytes.Buffer
}

// proxies are weft on the first node of the lab, and kube-proxy, with the lab's configuration for it, on the second.
func proxies(l *lab, weft, dir string) ([]*proxy, error) {
	all := []*proxy{
		{name: "weft node", machine: l.status.Nodes[0], tables: []string{"ip weft-v1", "ip6 weft-v1"}, ones: 10, argv: []string{weft, "node",
			"--node-name", l.status.Nodes[0].Name, "--kubeconfig", l.status.Kubeconfig, "--state-dir", filepath.Join(dir, "state"),
			"--cluster-cidr", podCIDR.String(), "--service-cidr", serviceCIDR.String()}},
		{name: "kube-proxy " + l.status.Kubernetes, machine: l.status.Nodes[1], tables: []string{"ip kube-proxy", "ip6 kube-proxy"}, ones: 2, mounts: true,
			argv: []string{"/run/weft-lab/bin/lab-kubernetes", "kube-proxy", "--config", "/etc/kubernetes/proxy.json"}},
	}
	for _, p := range all {
		var err error
		if p.space, err = netspace.Open(p.machine.Netns); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// start starts the process. nsenter becomes the program, so that its process is the program's.
func (p *proxy) start() error {
	args := []string{"--net=" + p.machine.Netns}
	if p.mounts {
		args = append(args, "--target="+strconv.Itoa(p.machine.PID), "--mount")
	}
	p.cmd = exec.Command("nsenter", append(append(args, "--"), p.argv...)...)
	p.log.Reset()
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	return p.cmd.Start()
}

// stop ends the process and removes what it programmed.
func (p *proxy) stop() error {
	if p.cmd == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	p.cmd = nil
	for _, t := range p.tables {
		cmd := exec.Command("nft", "delete", "table "+t)
		if err := p.space.Do(cmd.Start); err != nil {
			return err
		}
		_ = cmd.Wait() // which may not be there
	}
	return nil
}

// failed gives an error with the end of what the process wrote.
func (p *proxy) failed(err error) error {
	lines := strings.Split(strings.TrimSpace(p.log.String()), "\n")
	return fmt.Errorf("%s: %w\n%s", p.name, err, strings.Join(lines[max(0, len(lines)-10):], "\n"))
}

// cpu is what the process has spent, and those of its children that have ended (nft, for kube-proxy). The process's own is the scheduler's account, which is exact; that
// of children, and the division into user and system, is in clock ticks.
func (p *proxy) cpu() cost {
	pid := strconv.Itoa(p.cmd.Process.Pid)
	own, ended := ticks(pid)
	c := own.plus(ended)
	c.cpu = ended.cpu
	tasks, _ := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
	for _, t := range tasks {
		account, _ := os.ReadFile(t)
		if f := strings.Fields(string(account)); len(f) > 0 {
			ns, _ := strconv.ParseInt(f[0], 10, 64)
			c.cpu += time.Duration(ns)
		}
	}
	return c
}

// stat reads proc_pid_stat(5) from its third field on; nil if the process has ended.
func stat(pid string) []string {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// ticks reads a process's accounts: its own, and that of its children that have ended.
func ticks(pid string) (own, ended cost) {
	f := stat(pid)
	if f == nil {
		return own, ended
	}
	field := func(n int) time.Duration {
		const tick = 10 * time.Millisecond // USER_HZ is 100 everywhere
		v, _ := strconv.ParseInt(f[n-3], 10, 64)
		return time.Duration(v) * tick
	}
	account := func(user, system time.Duration) cost { return cost{cpu: user + system, user: user, system: system} }
	return account(field(14), field(15)), account(field(16), field(17))
}

// hasChildren tells whether a child of the process still works.
func (p *proxy) hasChildren() bool {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		if f := stat(filepath.Base(dir)); len(f) > 1 && f[1] == strconv.Itoa(p.cmd.Process.Pid) {
			return true
		}
	}
	return false
}

// memory is what is resident now, and what was at most, in bytes.
func (p *proxy) memory() (now, most int64) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(w[1], 10, 64)
		switch w[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			most = kib << 10
		}
	}
	return now, most
}

// idle waits until the process has spent next to nothing for a while, so that what comes next is charged to the right event.
func (p *proxy) idle(ctx context.Context) error {
	// Long enough for what a proxy puts off, as weft does the writing of its plan to disk.
	const samples, every, nothing = 7, 100 * time.Millisecond, 3 * time.Millisecond
	var last []time.Duration
	for {
		if last = append(last, p.cpu().cpu); len(last) > samples {
			if last[samples]-last[0] < nothing && !p.hasChildren() {
				return nil
			}
			last = last[1:]
		}
		if err := pause(ctx, every); err != nil {
			return fmt.Errorf("does not come to rest: %w", err)
		}
	}
}
