package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/test/bench/netspace"
)

// live are the endpoints that answer: addresses on loopback of each proxy's node, where the bench listens.
var live = []netip.Addr{netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.0.2")}

// listen makes the live endpoints answer in a namespace.
func listen(s *netspace.Space) (stop func(), err error) {
	h, err := s.Links()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	var listeners []net.Listener
	stop = func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}
	for _, a := range live {
		if err := h.AddrReplace(lo, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
			return stop, fmt.Errorf("address %s on loopback: %w", a, err)
		}
		err := s.Do(func() error {
			l, err := net.Listen("tcp4", netip.AddrPortFrom(a, endpointPort).String())
			if err == nil {
				listeners = append(listeners, l)
			}
			return err
		})
		if err != nil {
			return stop, err
		}
	}
	for _, l := range listeners {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
			}
		}()
	}
	return stop, nil
}

// patience is how long one attempt to connect may take. What is on the same machine answers while connect is called.
const patience = 3 * time.Millisecond

// connectable tells whether a Service answers. The calling thread is in the namespace.
func connectable(i int) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// No TIME_WAIT: thousands of attempts from few ports.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: servicePort, Addr: clusterIP(i).As4()})
	if err == nil {
		return true
	}
	if err != unix.EINPROGRESS {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(fds, int(patience.Milliseconds())); err != nil || n == 0 {
		return false
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return err == nil && code == 0
}

// await waits until all these Services answer, or none of them does, and tries again every so often.
func await(ctx context.Context, s *netspace.Space, answer bool, every time.Duration, services ...int) error {
	return s.Do(func() error {
		for k := len(services) - 1; k >= 0; { // the last one changed is likely to be the last to be right
			if connectable(services[k]) == answer {
				k--
				continue
			}
			if err := pause(ctx, every); err != nil {
				return fmt.Errorf("%s did not become connectable=%v: %w", serviceName(services[k]), answer, err)
			}
		}
		return nil
	})
}
