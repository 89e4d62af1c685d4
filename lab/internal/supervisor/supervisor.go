// Package supervisor is the one process of a lab that lives outside of its
// namespaces. It starts the lab's process 1, ends it when told to or when
// nobody waited for the lab to come up, and then removes what outlives
// namespaces: control groups and the lab's folder. When the supervisor itself
// is killed the kernel kills the lab, and Clean, called by whoever comes next,
// removes the rest. It never enters the lab.
package supervisor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/weftmesh/weft/lab/internal/cgroup"
	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/state"
)

// Files that the supervisor inherits.
const (
	lockFD   = 3 // the lab's lock, held
	eventsFD = 4 // events go here until the lab is up
	lifeFD   = 5 // one byte comes when the starter saw the lab up; its end, before, ends the lab
)

// Start starts the supervisor of a lab, detached from the caller, and hands it
// the lock. It returns when the lab is up, calling event for every step; if
// that fails, or ctx is done before, nothing of the lab stays.
func Start(ctx context.Context, dir state.Dir, lock *state.Lock, event func(control.Event)) error {
	eventsRead, eventsWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer eventsRead.Close()
	lifeRead, lifeWrite, err := os.Pipe()
	if err != nil {
		eventsWrite.Close()
		return err
	}
	defer lifeWrite.Close()
	log, err := os.OpenFile(dir.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()

	cmd := exec.Command(dir.Program(), "supervise", "--name", dir.Name)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock.File, eventsWrite, lifeRead}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	eventsWrite.Close()
	lifeRead.Close()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	// From here on the lock is the supervisor's alone.
	lock.File.Close()
	defer context.AfterFunc(ctx, func() { lifeWrite.Close() })()

	var last control.Event
	for lines := bufio.NewScanner(eventsRead); lines.Scan(); {
		var e control.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue
		}
		if last = e; e.Ready {
			if _, err := lifeWrite.Write([]byte{1}); err != nil {
				break
			}
			return cmd.Process.Release()
		}
		if e.Text != "" {
			event(e)
		}
	}
	// The events ended: wait until it has cleaned up.
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case last.Error != "":
		return errors.New(last.Error)
	}
	return fmt.Errorf("the supervisor ended: %w", errors.Join(err, errors.New("see its log")))
}

// Main is the supervisor itself. It returns when the lab has ended and nothing
// of it is left.
func Main(ctx context.Context, dir state.Dir) error {
	// The lab dies with the thread that started it: this one.
	runtime.LockOSThread()
	for fd := lockFD; fd <= lifeFD; fd++ {
		syscall.CloseOnExec(fd)
	}
	events, life := os.NewFile(eventsFD, "events"), os.NewFile(lifeFD, "life")
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()

	lock := dir.Inherit(os.NewFile(lockFD, "lock"))
	if err := lock.SetHolder(os.Getpid()); err != nil {
		return fmt.Errorf("this is started by weft-lab up: %w", err)
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("lab", dir.Name)
	result := run(ctx, dir, events, life, logger)
	if result != nil {
		logger.Error("The lab ended", "err", result)
	}
	// What went wrong must be told before the log is gone, and the end of the
	// events after everything is.
	_ = json.NewEncoder(events).Encode(control.Event{Error: errorText(result)})
	err := Clean(context.WithoutCancel(ctx), dir)
	return errors.Join(err, lock.Release())
}

func errorText(err error) string {
	if err == nil {
		return "the lab was ended"
	}
	return err.Error()
}

// run starts the lab and returns when it has ended.
func run(ctx context.Context, dir state.Dir, events io.Writer, life io.Reader, logger *slog.Logger) error {
	if err := createGroups(dir); err != nil {
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command(dir.Program(), "init", "--name", dir.Name)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = write, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		// Process 1 takes everything in its namespace with it.
		_ = cmd.Process.Kill()
	})()
	var parts sync.WaitGroup
	defer parts.Wait()
	ends := make(chan error, 2)
	parts.Go(func() { ends <- relay(read, events) })
	go func() {
		// Not waited for: a pipe's read cannot be ended, but by its writer.
		if n, err := life.Read(make([]byte, 1)); n == 0 {
			logger.Info("Who started the lab is gone", "err", err)
			cancel()
		}
	}()
	server := &server{dir: dir, init: cmd.Process.Pid, logger: logger}
	parts.Go(func() {
		if err := server.serve(ctx); err != nil {
			ends <- err
			cancel()
		}
	})

	err = cmd.Wait()
	cancel()
	parts.Wait()
	close(ends)
	for e := range ends {
		if e != nil {
			return e
		}
	}
	if context.Cause(ctx) != nil && err != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		return nil // told to end
	}
	return err
}

func createGroups(dir state.Dir) error {
	nodes, err := nodeNames(dir)
	if err != nil {
		return err
	}
	groups, err := cgroup.Find()
	if err != nil {
		return err
	}
	return groups.Create(dir.Name, nodes)
}

// relay passes events on and returns the error that the last of them tells of.
func relay(from io.Reader, to io.Writer) error {
	var failed error
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e control.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue
		}
		if e.Error != "" {
			failed = errors.New(e.Error)
			continue // told when everything is cleaned up
		}
		// Whoever listened may be gone.
		_, _ = to.Write(append(lines.Bytes(), '\n'))
	}
	return failed
}

// Stop ends a lab, however it is, and returns when nothing of it is left.
func Stop(ctx context.Context, dir state.Dir) error {
	lock, err := dir.Lock()
	if errors.Is(err, state.ErrLocked) {
		lock, err = stopHolder(ctx, dir)
	}
	if err != nil {
		return err
	}
	return errors.Join(Clean(ctx, dir), lock.Release())
}

// stopHolder tells the supervisor to end, and waits for its lock.
func stopHolder(ctx context.Context, dir state.Dir) (*state.Lock, error) {
	for _, s := range []struct {
		signal  syscall.Signal
		timeout time.Duration
	}{{syscall.SIGTERM, cleanTimeout}, {syscall.SIGKILL, 10 * time.Second}} {
		pid, err := dir.Holder()
		if err != nil {
			return nil, fmt.Errorf("lab %s is held by somebody who gives no name: %w", dir.Name, err)
		}
		if err := syscall.Kill(pid, s.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, fmt.Errorf("end the supervisor of lab %s, process %d: %w", dir.Name, pid, err)
		}
		waitCtx, cancel := context.WithTimeout(ctx, s.timeout)
		lock, err := dir.WaitLock(waitCtx)
		cancel()
		if !errors.Is(err, state.ErrLocked) {
			return lock, err
		}
	}
	return nil, fmt.Errorf("lab %s did not end", dir.Name)
}
