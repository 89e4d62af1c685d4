// Package netspace makes network namespaces for benchmarks, and goes into them.
//
// It never touches the machine's own.
package netspace

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Space is a network namespace. It is gone when it is closed and nothing runs in it.
type Space struct {
	handle netns.NsHandle
}

// New makes a network namespace with nothing in it.
func New() (*Space, error) {
	s := &Space{}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine, so nobody else finds himself in there
		var err error
		s.handle, err = netns.New()
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
