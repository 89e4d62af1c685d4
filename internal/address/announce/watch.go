//go:build linux

package announce

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
)

// watcher hears from the kernel that a link or an address changed.
type watcher struct {
	changed chan struct{}
	done    chan struct{}
	ended   atomic.Bool // the kernel's messages came faster than they were read: renew
	readers sync.WaitGroup

	mu   sync.Mutex
	down map[int]bool
}

func watch() (*watcher, error) {
	w := &watcher{changed: make(chan struct{}, 1), done: make(chan struct{}), down: map[int]bool{}}
	links, addrs := make(chan netlink.LinkUpdate, 16), make(chan netlink.AddrUpdate, 16)
	ignore := func(error) {} // the channel is closed as well
	if err := netlink.LinkSubscribeWithOptions(links, w.done, netlink.LinkSubscribeOptions{ErrorCallback: ignore}); err != nil {
		return nil, fmt.Errorf("watch links: %w", err)
	}
	w.readers.Go(func() {
		for u := range links {
			if u.IfInfomsg.Flags&(flagUp|flagRunning) != flagUp|flagRunning {
				w.mu.Lock()
				w.down[int(u.Index)] = true
				w.mu.Unlock()
			}
			signal(w.changed)
		}
		w.ended.Store(true)
	})
	if err := netlink.AddrSubscribeWithOptions(addrs, w.done, netlink.AddrSubscribeOptions{ErrorCallback: ignore}); err != nil {
		w.close()
		return nil, fmt.Errorf("watch addresses: %w", err)
	}
	w.readers.Go(func() {
		for range addrs {
			signal(w.changed)
		}
		w.ended.Store(true)
	})
	return w, nil
}

// wentDown gives the links that were down at any time since the last call, however short.
func (w *watcher) wentDown() map[int]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	down := w.down
	w.down = map[int]bool{}
	return down
}

// renew gives a watcher that works: this one, or one in its place.
func (w *watcher) renew() (*watcher, error) {
	if !w.ended.Load() {
		return w, nil
	}
	again, err := watch()
	if err != nil {
		return nil, err
	}
	w.close()
	return again, nil
}

func (w *watcher) close() {
	close(w.done)
	w.readers.Wait()
}
