package behaviour

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// NetNS is a network namespace without a name, gone when the test is over.
type NetNS struct {
	Name   string
	handle netns.NsHandle
	links  *netlink.Handle
}

// NewNetNS makes a network namespace in which loopback is up. The test is skipped without the privilege to make one.
func NewNetNS(t testing.TB, name string) *NetNS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	n := &NetNS{Name: name}
	made := make(chan error)
	go func() {
		// The thread is not unlocked, so it ends with this goroutine and nobody else finds himself in the namespace.
		runtime.LockOSThread()
		var err error
		n.handle, err = netns.New()
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatalf("network namespace %s: %v", name, err)
	}
	t.Cleanup(func() { _ = n.handle.Close() })
	links, err := netlink.NewHandleAt(n.handle)
	if err != nil {
		t.Fatalf("netlink in %s: %v", name, err)
	}
	n.links = links
	t.Cleanup(links.Close)
	lo, err := links.LinkByName("lo")
	if err == nil {
		err = links.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("loopback of %s: %v", name, err)
	}
	return n
}

// FD gives a descriptor of the namespace, valid until the test is over.
func (n *NetNS) FD() int { return int(n.handle) }

// Do runs f on a thread that is in the namespace. Sockets that f makes stay in it; goroutines that f starts are not in it.
func (n *NetNS) Do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: see NewNetNS
		if err := netns.Set(n.handle); err != nil {
			done <- fmt.Errorf("entering %s: %w", n.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// sysctl sets a setting of the namespace.
func (n *NetNS) sysctl(t testing.TB, name, value string) {
	t.Helper()
	err := n.Do(func() error {
		return os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0)
	})
	if err != nil {
		t.Fatalf("%s in %s: %v", name, n.Name, err)
	}
}
