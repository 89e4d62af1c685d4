// Package netspace makes network namespaces for benchmarks, and goes into them.
//
// It never touches the machine's own.
package netspace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Space is a network namespace. It is gone when it is closed and nothing runs in it.
type Space struct {
	handle netns.NsHandle
}

// congestion is how TCP paces itself where nobody has chosen: in Linux, and so in Debian and Ubuntu. A host of virtual machines may have chosen another; BBR
// spends more on timers, at a loopback, than all of a proxy.
const congestion = "cubic"

// tune makes TCP in the namespace of this thread what it is by default.
func tune() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(congestion), 0); err != nil {
		return fmt.Errorf("congestion control: %w", err)
	}
	return nil
}

// Alone has the program run in a network namespace of its own, in which there is a loopback: it starts itself again in there, and ends as that ends. It returns
// in there only.
func Alone() error {
	const inside = "WEFT_BENCH_ALONE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = append(os.Environ(), inside+"=1"), os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		interrupts := make(chan os.Signal, 1)
		signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start again in a network namespace (are you root?): %w", err)
		}
		go func() {
			for s := range interrupts {
				_ = cmd.Process.Signal(s)
			}
		}()
		err := cmd.Wait()
		if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
			return err
		}
		os.Exit(cmd.ProcessState.ExitCode())
	}
	_ = os.Unsetenv(inside)
	loopback, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(loopback)
	}
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return tune()
}

// New makes a network namespace with nothing in it.
func New() (*Space, error) {
	s := &Space{}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine, so nobody else finds himself in there
		var err error
		if s.handle, err = netns.New(); err == nil {
			err = tune()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("make a network namespace (are you root?): %w", err)
	}
	return s, nil
}

// Open opens one that is there.
func Open(path string) (*Space, error) {
	h, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	return &Space{handle: h}, nil
}

// Close lets go of it.
func (s *Space) Close() { _ = s.handle.Close() }

// FD is its descriptor, until it is closed.
func (s *Space) FD() int { return int(s.handle) }

// Path is a file by which other processes can enter it, until it is closed.
func (s *Space) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s.handle)) }

// Links speaks to the kernel about its interfaces, addresses and routes. The caller closes it.
func (s *Space) Links() (*netlink.Handle, error) { return netlink.NewHandleAt(s.handle) }

// Do runs f on a thread that is in the namespace, and ends with f. Sockets that f makes stay there, and so do processes that it starts; its goroutines are
// not there.
func (s *Space) Do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(s.handle); err != nil {
			done <- fmt.Errorf("enter a network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
