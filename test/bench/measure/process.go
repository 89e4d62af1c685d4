package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The load generator and the server behind share one processor, what is measured has the other.
const (
	LoadProcessor  = 0
	ProxyProcessor = 1
	AnyProcessor   = -1
)

// Place is where a program runs: on a processor, or on all of them (AnyProcessor).
type Place struct {
	Processor int
	In        []string // a command that goes elsewhere and runs there what follows it, as nsenter does; nil stays here
}

func (p Place) command(ctx context.Context, name string, args []string) *exec.Cmd {
	var words []string
	words = append(words, p.In...)
	if p.Processor != AnyProcessor {
		words = append(words, "taskset", "-c", strconv.Itoa(p.Processor))
	}
	words = append(append(words, name), args...)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	if p.Processor != AnyProcessor {
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	}
	return cmd
}

// Program is what to start.
type Program struct {
	Place
	Name   string
	Args   []string
	Env    []string     // beside ours
	Counts string       // the name of the file whose processes count, of all that come of the program; "" is all
	Alone  bool         // in a process namespace of its own if we are root: whatever it starts ends with it, also if we are killed
	Prints bool         // what it writes to standard output costs what it takes to write it; else that goes nowhere
	Ready  func() error // is asked until it says nil
}

// Process is a program that runs, in a process group of its own. It does not outlive this process.
type Process struct {
	counts string
	cmd    *exec.Cmd
	done   chan struct{}
	log    *bytes.Buffer
	ready  time.Time
}

// settled is how long programs take to give back what they needed only to start.
const settled = 12 * time.Second

// Start runs a program and waits until it is ready.
func Start(ctx context.Context, o Program) (*Process, error) {
	p := &Process{counts: o.Counts, cmd: o.command(ctx, o.Name, o.Args), done: make(chan struct{}), log: new(bytes.Buffer)}
	if o.Env != nil {
		p.cmd.Env = append(p.cmd.Environ(), o.Env...)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if o.Alone && os.Geteuid() == 0 {
		p.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	}
	p.cmd.Stderr = p.log
	if !o.Prints {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		defer func() { _ = null.Close() }()
		p.cmd.Stdout = null
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel ends the program with the thread that started it
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	why := errors.New("it was not asked")
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended: %s", o.Name, tail(p.log.String()))
		default:
		}
		if why = o.Ready(); why == nil {
			p.ready = time.Now()
			return p, nil
		}
	}
	p.Stop()
	return nil, fmt.Errorf("%s is not ready: %w: %s", o.Name, errors.Join(why, ctx.Err()), tail(p.log.String()))
}

// Listening asks whether a port of loopback answers.
func Listening(port int) func() error {
	return func() error {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = c.Close()
		}
		return err
	}
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

// Stop ends the process group that we made. It may be called for none.
func (p *Process) Stop() {
	if p == nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// Settled waits until the program has long been ready. The error is that of ctx.
func (p *Process) Settled(ctx context.Context) error {
	select {
	case <-time.After(time.Until(p.ready.Add(settled))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// members are the processes of the group that count.
func (p *Process) members() (pids []string) {
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		f := statOf(e)
		if len(f) < 3 || f[2] != strconv.Itoa(p.cmd.Process.Pid) {
			continue
		}
		if file, _ := os.Readlink(filepath.Join(filepath.Dir(e), "exe")); p.counts == "" || filepath.Base(file) == p.counts {
			pids = append(pids, filepath.Base(filepath.Dir(e)))
		}
	}
	return pids
}

// statOf gives the fields of /proc/PID/stat after the command's name: state, parent, group, ...
func statOf(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.Fields(rest)
}

// CPU is the processor time of the group, of which the kernel keeps an exact sum beside the ticks of stat.
func (p *Process) CPU() (total time.Duration) {
	for _, pid := range p.members() {
		tasks, err := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
		if err != nil {
			continue
		}
		for _, t := range tasks {
			text, err := os.ReadFile(t)
			if err != nil {
				continue
			}
			on, _, _ := strings.Cut(string(text), " ")
			ns, err := strconv.ParseInt(on, 10, 64)
			if err == nil {
				total += time.Duration(ns)
			}
		}
	}
	return total
}

// Memory is what the group has resident, in MiB.
func (p *Process) Memory() float64 { return p.memory("VmRSS:") }

// Own is how much of that no file is behind: the rest is above all the program, which all processes that run it share.
func (p *Process) Own() float64 { return p.memory("RssAnon:") }

func (p *Process) memory(kind string) (mib float64) {
	for _, pid := range p.members() {
		text, err := os.ReadFile("/proc/" + pid + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, kind); ok {
				kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				if err == nil {
					mib += kib / 1024
				}
			}
		}
	}
	return mib
}

// Output runs a program to its end.
func Output(ctx context.Context, at Place, name string, args ...string) (string, error) {
	out, err := at.command(ctx, name, args).CombinedOutput()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%s: %w: %s", name, err, tail(string(out)))
	}
	return string(out), err
}
