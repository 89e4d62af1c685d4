//go:build linux

package announce

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const flagUp, flagRunning = unix.IFF_UP, unix.IFF_RUNNING

// link is an interface that is announced on.
type link struct {
	owner    *Announcer
	name     string
	index    int
	mac      mac
	arp, ndp *packet.Conn
	groups   *groups
	readers  sync.WaitGroup
	broken   atomic.Bool // has to be opened again

	// Of the Announcer's own goroutine:
	up        bool
	announced map[netip.Addr]*round
}

// round is how far the announcing of an address is.
type round struct {
	left int
	next time.Time
}

func (a *Announcer) open(f found) (*link, error) {
	l := &link{owner: a, name: f.name, index: f.index, mac: f.mac, announced: map[netip.Addr]*round{}}
	ifi := &net.Interface{Index: f.index, Name: f.name, HardwareAddr: f.mac[:]}
	var err error
	if l.arp, err = listen(ifi, etherARP, arpFilter); err != nil {
		return nil, err
	}
	if l.ndp, err = listen(ifi, etherIPv6, solicitationFilter); err != nil {
		_ = l.arp.Close()
		return nil, err
	}
	l.groups = openGroups(f.index, l.ndp)
	l.readers.Go(func() { l.read(l.arp, parseARP, a.metrics.arp) })
	l.readers.Go(func() { l.read(l.ndp, parseSolicitation, a.metrics.ndp) })
	return l, nil
}

func listen(ifi *net.Interface, etherType int, filter func() ([]bpf.RawInstruction, error)) (*packet.Conn, error) {
	program, err := filter()
	if err != nil {
		return nil, err
	}
	return packet.Listen(ifi, packet.Raw, etherType, &packet.Config{Filter: program})
}

func (l *link) close() {
	_ = l.arp.Close()
	_ = l.ndp.Close()
	l.groups.close()
	l.readers.Wait()
}

// setUp notes whether the interface carries frames. When it comes up, perhaps on another switch port, everything is announced again.
func (l *link) setUp(up bool) {
	if up && !l.up {
		for _, r := range l.announced {
			*r = round{left: repeats}
		}
	}
	l.up = up
}

// announce sends what is due and gives the time of what comes next; zero if nothing does.
func (l *link) announce(now time.Time, ours map[netip.Addr]bool) (next time.Time) {
	for addr := range l.announced {
		if !ours[addr] {
			delete(l.announced, addr)
			l.groups.leave(addr)
		}
	}
	for addr := range ours {
		r := l.announced[addr]
		if r == nil {
			r = &round{left: repeats, next: now}
			l.announced[addr] = r
			if err := l.groups.join(addr); err != nil {
				l.owner.log.Warn("cannot join solicited-node group", "interface", l.name, "address", addr.String(), "error", err)
			}
		}
		if !l.up || r.left == 0 {
			continue
		}
		if !now.Before(r.next) {
			l.tell(addr)
			r.left--
			r.next = now.Add(repeatEvery)
		}
		if r.left > 0 && (next.IsZero() || r.next.Before(next)) {
			next = r.next
		}
	}
	return next
}

func (l *link) tell(addr netip.Addr) {
	conn := l.arp
	if addr.Is6() {
		conn = l.ndp
	}
	for _, frame := range takeover(addr, l.mac) {
		if err := send(conn, frame); err != nil {
			l.owner.metrics.sendFailures.Inc()
			l.owner.log.Warn("cannot announce address", "interface", l.name, "address", addr.String(), "error", err)
			return
		}
	}
	l.owner.metrics.announcements.Inc()
}

func send(conn *packet.Conn, frame []byte) error {
	_, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})
	return err
}

// read answers queries until the socket is closed.
func (l *link) read(conn *packet.Conn, parse func([]byte) (query, error), m protocolMetrics) {
	in, out := make([]byte, snapBytes), make([]byte, 0, 128)
	for {
		n, _, err := conn.ReadFrom(in)
		switch {
		case errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, unix.ENETDOWN): // told once when the interface goes down; the socket works again when it comes up
			continue
		case err != nil:
			l.broken.Store(true)
			signal(l.owner.wake)
			return
		}
		q, err := parse(in[:n])
		if err != nil {
			m.malformed.Inc()
			continue
		}
		if !(*l.owner.ours.Load())[q.target] || q.askerMAC == l.mac {
			continue
		}
		if q.announcement() {
			m.conflicts.Inc() // somebody else says that the address is theirs: nothing to answer
			continue
		}
		if err := send(conn, answer(out, q, l.mac)); err != nil {
			l.owner.metrics.sendFailures.Inc()
			continue
		}
		m.answers.Inc()
	}
}
