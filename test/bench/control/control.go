package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds"
)

// whoHeader says which sidecar a stream is of: there is nothing to authenticate with here.
const whoHeader = "x-sidecar"

// target is the Service that is changed: every sidecar uses it.
const target = 0

// cost is what the control plane has used so far.
type cost struct {
	cpu time.Duration
	rss int64
}

// beControl is the control plane: it serves sidecars, says where on its first line, and obeys the lines that come.
func beControl(ctx context.Context, s size) error {
	m := newMesh(s)
	server, err := xds.New(xds.Options{
		DB: m.DB, Resources: m.Resources, Mesh: m.Sidecars, Log: slog.New(slog.DiscardHandler), StreamsPerSecond: 10_000,
		Authenticate: func(ctx context.Context) (xds.Client, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			i, err := strconv.Atoi(strings.Join(md.Get(whoHeader), ""))
			if err != nil {
				return xds.Client{}, err
			}
			sidecar := &model.Sidecar{Namespace: namespaceOf(i), Labels: model.MakeLabels(map[string]string{"app": nameOf(i), "version": "v1"}), ServiceAccount: nameOf(i)}
			return xds.Client{Fleet: model.Fleet{Namespace: sidecar.Namespace, Labels: sidecar.Labels}, Pod: podName(i, 0), ServiceAccount: sidecar.ServiceAccount, Sidecar: sidecar}, nil
		},
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	fmt.Println(l.Addr())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		kind, digits, _ := strings.Cut(lines.Text(), " ")
		round, _ := strconv.Atoi(digits)
		if kind == "cost" {
			fmt.Println(ownCost())
			continue
		}
		m.Source.Commit(func(tx *store.Tx) { m.change(tx, kind, round) })
		fmt.Println("done")
	}
	stop()
	return <-served
}

func (m *mesh) change(tx *store.Tx, kind string, round int) {
	switch kind {
	case "endpoint":
		m.putSlice(tx, target, (round+1)%2-1) // the first endpoint is not ready, or all are
	case "route":
		m.putRoute(tx, target, round+1)
	case "service":
		m.services++
		m.putService(tx, m.services)
	case "same":
		m.putService(tx, target)
		m.putRoute(tx, target, m.rounds)
	}
}

// ownCost is this process's CPU in nanoseconds and memory in bytes.
func ownCost() string {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	rss := int64(0)
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			rss = pages * int64(os.Getpagesize())
		}
	}
	return fmt.Sprint(u.Utime.Nano()+u.Stime.Nano(), " ", rss)
}

// control is the control plane as its parent sees it.
type control struct {
	address string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
}

func startControl(ctx context.Context, s size) (*control, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &control{cmd: exec.CommandContext(ctx, self, "-serve", fmt.Sprint("-services=", s.services), fmt.Sprint("-endpoints=", s.endpoints), fmt.Sprint("-rounds=", s.rounds))}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if c.address, err = c.line(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *control) line() (string, error) {
	if !c.out.Scan() {
		return "", errors.Join(errors.New("the control plane has ended"), c.out.Err())
	}
	return c.out.Text(), nil
}

func (c *control) ask(line string) (string, error) {
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		return "", err
	}
	return c.line()
}

func (c *control) change(kind string, round int) error {
	_, err := c.ask(fmt.Sprint(kind, " ", round))
	return err
}

func (c *control) cost() (out cost, err error) {
	text, err := c.ask("cost")
	if err != nil {
		return out, err
	}
	var cpu int64
	_, err = fmt.Sscan(text, &cpu, &out.rss)
	out.cpu = time.Duration(cpu)
	return out, err
}

func (c *control) stop() {
	_ = c.in.Close()
	_ = c.cmd.Wait()
}
