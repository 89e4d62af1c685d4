// Command dns measures weft's name server beside CoreDNS in the same run: CPU time per query, for each kind of question a cluster asks, as
// medians of interleaved rounds and their ratios.
//
//	go run ./test/bench/dns [-services 10000] [-rounds 5] [-seconds 2] [-rate 0]
//
// It needs dnsperf. CoreDNS is built from its module (in coredns/, a module of its own) with the plugins that a cluster's Corefile names,
// and reads its Services from a stand-in for the API server that this command serves; weft's zone is filled with the same. Both run with
// one processor (GOMAXPROCS=1) on loopback.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	var (
		services = flag.Int("services", 10000, "number of Services, in namespaces of 100, each tenth headless")
		rounds   = flag.Int("rounds", 5, "rounds of each peer and question")
		seconds  = flag.Float64("seconds", 2, "length of a round")
		rate     = flag.Int("rate", 0, "queries per second; 0 is as many as the server answers")
		serve    = flag.String("serve-weft", "", "internal: serve weft's zone on this address")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *serve != "" {
		err = serveWeft(ctx, *serve, *services)
	} else {
		err = run(ctx, *services, *rounds, *seconds, *rate)
	}
	if err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// peer is a server under measurement.
type peer struct {
	name    string
	port    int
	process *os.Process
}

func run(ctx context.Context, services, rounds int, seconds float64, rate int) error {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		return fmt.Errorf("dnsperf is not installed: %w", err)
	}
	dir, err := os.MkdirTemp("", "weft-bench-dns-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	peers, stop, err := start(ctx, dir, services)
	defer stop()
	if err != nil {
		return err
	}
	fmt.Printf("%d services; CPU µs per query, median of %d rounds of %g s", services, rounds, seconds)
	if rate > 0 {
		fmt.Printf(" at %d queries/s", rate)
	}
	fmt.Printf("; ratio to %s\n%-10s", peers[0].name, "")
	for _, p := range peers {
		fmt.Printf(" %22s", p.name)
	}
	fmt.Println()
	for _, q := range questions(services) {
		file := filepath.Join(dir, q.name)
		if err := os.WriteFile(file, []byte(strings.Join(q.lines, "\n")+"\n"), 0o600); err != nil {
			return err
		}
		cost := make([][]float64, len(peers))
		for range rounds {
			for i, p := range peers {
				c, err := p.measure(ctx, file, seconds, rate, q.code)
				if err != nil {
					return fmt.Errorf("%s of %s: %w", q.name, p.name, err)
				}
				cost[i] = append(cost[i], c)
			}
		}
		fmt.Printf("%-10s", q.name)
		for i := range peers {
			fmt.Printf(" %12.2f (×%6.2f)", median(cost[i]), median(cost[i])/median(cost[0]))
		}
		fmt.Println()
	}
	fmt.Printf("%-10s", "RSS, MiB")
	for _, p := range peers {
		fmt.Printf(" %22.0f", p.rss())
	}
	fmt.Println()
	return nil
}

// start builds and starts all peers and waits until they answer.
func start(ctx context.Context, dir string, services int) (peers []*peer, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var started []*exec.Cmd
	stop = func() {
		cancel()
		for _, c := range started {
			_ = c.Wait()
		}
	}
	binary := filepath.Join(dir, "coredns")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, ".")
	build.Dir = "test/bench/dns/coredns"
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, stop, fmt.Errorf("building CoreDNS: %w\n%s", err, out)
	}
	api, err := serveAPI(ctx, services)
	if err != nil {
		return nil, stop, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, stop, err
	}
	launch := func(name string, port int, command string, args ...string) error {
		c := exec.CommandContext(ctx, command, args...)
		c.Env = append(os.Environ(), "GOMAXPROCS=1")
		c.Stderr = os.Stderr
		c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
		c.WaitDelay = 10 * time.Second
		if err := c.Start(); err != nil {
			return err
		}
		started = append(started, c)
		p := &peer{name: name, port: port, process: c.Process}
		peers = append(peers, p)
		return p.await(ctx, services)
	}
	port := freePort()
	if err := launch("weft", port, self, "-serve-weft", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), "-services", strconv.Itoa(services)); err != nil {
		return nil, stop, err
	}
	for _, cache := range []string{"", "cache 30\n"} {
		port, name := freePort(), "coredns"
		if cache != "" {
			name = "coredns, cache 30"
		}
		corefile := filepath.Join(dir, fmt.Sprintf("Corefile%d", port))
		text := fmt.Sprintf(".:%d {\n bind 127.0.0.1\n errors\n %skubernetes cluster.local in-addr.arpa ip6.arpa {\n endpoint http://%s\n pods insecure\n fallthrough in-addr.arpa ip6.arpa\n ttl 30\n }\n loadbalance\n}\n", port, cache, api)
		if err := os.WriteFile(corefile, []byte(text), 0o600); err != nil {
			return nil, stop, err
		}
		if err := launch(name, port, binary, "-quiet", "-conf", corefile); err != nil {
			return nil, stop, err
		}
	}
	return peers, stop, nil
}

// await waits until the last Service is answered for.
func (p *peer) await(ctx context.Context, services int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)))
	}}
	for {
		_, err := r.LookupNetIP(ctx, "ip4", serviceName(services-1)+"."+namespaceName(services-1)+".svc.cluster.local.")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", p.name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// measure runs dnsperf once and gives the server's CPU time per query in µs.
func (p *peer) measure(ctx context.Context, file string, seconds float64, rate int, code string) (float64, error) {
	args := []string{"-s", "127.0.0.1", "-p", strconv.Itoa(p.port), "-d", file, "-l", fmt.Sprint(seconds), "-c", "16", "-q", "64", "-t", "2"}
	if rate > 0 {
		args = append(args, "-Q", strconv.Itoa(rate))
	}
	before := p.cpu()
	out, err := exec.CommandContext(ctx, "dnsperf", args...).CombinedOutput()
	spent := p.cpu() - before
	if err != nil {
		return 0, fmt.Errorf("dnsperf: %w\n%s", err, out)
	}
	var done int
	var codes string
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) > 2 && f[0] == "Queries" && f[1] == "completed:":
			done, _ = strconv.Atoi(f[2])
		case len(f) > 2 && f[0] == "Response" && f[1] == "codes:":
			codes = strings.Join(f[2:], " ")
		}
	}
	if done == 0 || !strings.HasPrefix(codes, code+" ") || strings.Contains(codes, ",") {
		return 0, fmt.Errorf("%d answers, %s (want %s)", done, codes, code)
	}
	return float64(spent.Microseconds()) / float64(done), nil
}

// cpu is what the process has used, by the scheduler's own account, which is finer than clock ticks.
func (p *peer) cpu() time.Duration {
	var sum time.Duration
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.process.Pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		if f := strings.Fields(string(b)); len(f) > 0 {
			n, _ := strconv.ParseInt(f[0], 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}

func (p *peer) rss() float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.process.Pid))
	if f := strings.Fields(string(b)); len(f) > 1 {
		n, _ := strconv.ParseFloat(f[1], 64)
		return n * float64(os.Getpagesize()) / (1 << 20)
	}
	return 0
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
