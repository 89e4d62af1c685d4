// Package reaper runs child processes from a process that is number 1 of its
// PID namespace and therefore is handed orphans: it waits for every child, its
// own and adopted ones, in one place. In such a process os/exec must not be
// used, because both would wait for the same children.
package reaper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Reaper waits for all children of the process.
type Reaper struct {
	mu      sync.Mutex
	running map[int]*Process
}

// Process is a child that was started by Start.
type Process struct {
	Pid    int
	reaper *Reaper
	done   chan struct{}
	status syscall.WaitStatus // valid once done is closed
}

// New returns a Reaper; Run must run for as long as it is used.
func New() *Reaper { return &Reaper{running: map[int]*Process{}} }

// Run waits for children until ctx is done. There must be one such call only in
// a process.
func (r *Reaper) Run(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	defer signal.Stop(signals)
	for {
		r.reap()
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
	}
}

// reap collects every child that has ended.
func (r *Reaper) reap() {
	// Under the lock a child that ends at once is registered before it is
	// collected, and a pid is not signalled after it was.
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if p, ok := r.running[pid]; ok {
			delete(r.running, pid)
			p.status = status
			close(p.done)
		}
	}
}

// Start starts a program. The program gets attr.Files as its first files, as
// with os.StartProcess.
func (r *Reaper) Start(path string, argv []string, attr *os.ProcAttr) (*Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	child, err := os.StartProcess(path, argv, attr)
	if err != nil {
		return nil, err
	}
	p := &Process{Pid: child.Pid, reaper: r, done: make(chan struct{})}
	r.running[p.Pid] = p
	// Waiting is ours.
	_ = child.Release()
	return p, nil
}

// Signal sends a signal. A process that has ended is left alone.
func (p *Process) Signal(s syscall.Signal) error {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if _, ok := p.reaper.running[p.Pid]; !ok {
		return nil
	}
	return syscall.Kill(p.Pid, s)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process and returns an error unless it exited
// with 0, or unless ctx was done before.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.done:
	}
	switch {
	case p.status.Signaled():
		return fmt.Errorf("ended by signal %s", p.status.Signal())
	case p.status.ExitStatus() != 0:
		return fmt.Errorf("exit code %d", p.status.ExitStatus())
	}
	return nil
}
