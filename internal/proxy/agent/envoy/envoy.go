// Package envoy runs stock Envoy in a Pod of a mesh, as a process that it watches over: what it starts with, whether it is ready, what it counts, and how it
// ends.
//
// It gives Envoy no configuration of traffic, and no secret but over the agent's sockets. When Envoy dies nothing is tried again here: the container ends,
// and the kubelet starts another.
package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/internal/proxy/stats"
)

// Options are what an Envoy runs with. All but Metrics, Arguments and Ready are needed.
type Options struct {
	Program   string
	Arguments []string // in place of those with the same name that it gets anyway, or beside them; a value is an argument of its own

	Node                 *corev3.Node
	Directory            string // where its bootstrap is written
	SDSSocket, XDSSocket string
	Admin                netip.AddrPort
	Metrics              netip.AddrPort // where Envoy itself shows its metrics; not valid is nowhere
	InboundOnly          bool           // at the end only incoming connections are asked to end: the application may need others until it has ended

	Ready   func() bool     // what else is needed; nil is nothing
	Counted *stats.Registry // what is shown beside Envoy's metrics

	// Drain and MinimumDrain are how long connections have to end when Run's context is done, and how long new ones are taken then at least, unless the
	// context's cause is Hurry.
	Drain, MinimumDrain time.Duration
	Hurry               error

	Log            *slog.Logger
	Stdout, Stderr io.Writer
}

// Envoy is one process. Make it with New, and Run it once.
type Envoy struct {
	o       Options
	admin   *admin
	seen    atomic.Bool // it was ready once
	leaving atomic.Bool
}

// killAfter is how long Envoy has to end by itself when it was told to.
const killAfter = 5 * time.Second

// New makes one that waits to be run.
func New(o Options) (*Envoy, error) {
	if o.Directory == "" || o.SDSSocket == "" || o.XDSSocket == "" || !o.Admin.IsValid() {
		return nil, errors.New("envoy: a directory for its bootstrap, sockets for secrets and configuration and an address for its admin endpoint are needed")
	}
	return &Envoy{o: o, admin: newAdmin(o.Admin)}, nil
}

// arguments are those of the command line.
func (e *Envoy) arguments(config string) []string {
	out := slices.Clone(e.o.Arguments)
	for _, a := range [][]string{
		{"-c", config}, {"--drain-time-s", strconv.Itoa(max(1, int(e.o.Drain/time.Second)))}, {"--drain-strategy", "immediate"}, {"--disable-hot-restart"},
		{"-l", "warning"}, {"--concurrency", "2"},
	} {
		if !slices.Contains(e.o.Arguments, a[0]) {
			out = append(out, a...)
		}
	}
	return out
}

// Run starts Envoy and waits for its end. When ctx is done connections are let end, and Envoy is ended then; the error is nil in that case.
func (e *Envoy) Run(ctx context.Context) error {
	text, err := e.o.bootstrap()
	if err != nil {
		return fmt.Errorf("envoy: bootstrap: %w", err)
	}
	config := filepath.Join(e.o.Directory, "envoy.json")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return fmt.Errorf("envoy: bootstrap: %w", err)
	}
	cmd := exec.Command(e.o.Program, e.arguments(config)...) //nolint:gosec // which program is for who runs us to say
	cmd.Stdout, cmd.Stderr = e.o.Stdout, e.o.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("envoy: %w", err)
	}
	e.o.Log.Info("Envoy runs", "program", e.o.Program, "pid", cmd.Process.Pid)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // read below in every case
	select {
	case err := <-ended:
		return fmt.Errorf("envoy: it has ended: %w", because(err))
	case <-ctx.Done():
	}
	e.leaving.Store(true)
	if err, early := e.drain(ctx, ended); early {
		return fmt.Errorf("envoy: it has ended while connections were still to end: %w", because(err))
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have gone
	select {
	case <-ended:
	case <-time.After(killAfter):
		_ = cmd.Process.Kill()
		<-ended
	}
	return nil
}

// because gives an error in any case.
func because(err error) error {
	if err == nil {
		return errors.New("by itself")
	}
	return err
}

// drain waits until connections have ended, as far as there is time. early is that Envoy ended, with its error.
func (e *Envoy) drain(ctx context.Context, ended <-chan error) (err error, early bool) { //nolint:revive // the error is Envoy's, and no failure of this function
	e.o.Log.Info("draining", "at_most", e.o.Drain)
	path := "/drain_listeners?graceful&skip_exit"
	if e.o.InboundOnly {
		path += "&inboundonly"
	}
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.o.Drain+time.Second)
	defer cancel()
	if err := e.admin.post(asking, path); err != nil {
		e.o.Log.Warn("Envoy does not drain", "error", err)
	}
	least := e.o.MinimumDrain
	if e.o.Hurry != nil && errors.Is(context.Cause(ctx), e.o.Hurry) {
		least = 0
	}
	begun := time.Now()
	for time.Since(begun) < e.o.Drain {
		if time.Since(begun) >= least {
			if n, err := e.admin.connections(asking); err == nil && n == 0 {
				return nil, false
			}
		}
		select {
		case err := <-ended:
			return err, true
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil, false
}
