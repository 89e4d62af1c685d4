package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// beLoad is the first argument with which the benchmark starts itself as a load generator.
const beLoad = "load"

// latencies is what a load generator tells: from when a request was due until its answer was whole, however late it was sent.
type latencies struct {
	Requests      int
	P50, P99, Max time.Duration
}

// load asks at a fixed rate, whether or not what was asked before is answered: one thread, connections in turn. The first tenth does not count.
type load struct {
	to          netip.AddrPort
	host        string
	bytes       int // of an answer
	rate        int
	connections int
	length      time.Duration

	request []byte
	all     []*connection
	free    []*connection // the longest idle is first
	took    []time.Duration
	begun   time.Time
}

// connection is one that is kept.
type connection struct {
	fd    int
	due   time.Duration // when the request that is under way was to be sent
	busy  bool
	read  []byte // of the head
	whole bool   // the head is here
	left  int    // bytes of the body that are not here yet
}

func loadCommand(args []string) error {
	l := load{}
	var to string
	fs := flag.NewFlagSet(beLoad, flag.ExitOnError)
	fs.StringVar(&to, "to", "", "ADDRESS:PORT")
	fs.StringVar(&l.host, "host", "", "whom to ask for")
	fs.IntVar(&l.bytes, "bytes", 100, "size of an answer; the path is called so")
	fs.IntVar(&l.rate, "rate", 2000, "requests per second")
	fs.IntVar(&l.connections, "connections", 64, "kept connections")
	fs.DurationVar(&l.length, "length", 3*time.Second, "how long")
	err := fs.Parse(args)
	if err == nil {
		l.to, err = netip.ParseAddrPort(to)
	}
	if err == nil {
		err = l.run()
	}
	if err != nil {
		return err
	}
	n := len(l.took)
	l.took = l.took[n/10:]
	slices.Sort(l.took)
	at := func(q float64) time.Duration { return l.took[int(q*float64(len(l.took)-1))] }
	return json.NewEncoder(os.Stdout).Encode(latencies{n, at(0.5), at(0.99), at(1)})
}

func (l *load) run() error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil { // nanoseconds that the kernel may wake us too late
		return err
	}
	l.request = fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", l.bytes, l.host)
	defer func() {
		for _, c := range l.all {
			_ = unix.Close(c.fd)
		}
	}()
	for range l.connections {
		if err := l.connect(); err != nil {
			return err
		}
	}
	l.begun = time.Now()
	total := int(l.length.Seconds() * float64(l.rate))
	for sent := 0; len(l.took) < total; {
		now := time.Since(l.begun)
		due := time.Duration(sent) * time.Second / time.Duration(l.rate)
		if sent < total && due <= now && len(l.free) > 0 {
			c := l.free[0]
			l.free = l.free[1:]
			c.due, c.busy = due, true
			if n, err := unix.Write(c.fd, l.request); err != nil || n < len(l.request) {
				return fmt.Errorf("write: %w", errors.Join(err, fmt.Errorf("%d bytes", n)))
			}
			sent++
			continue
		}
		wait := time.Minute
		if sent < total && len(l.free) > 0 {
			wait = due - now
		}
		if err := l.await(wait); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) connect() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c := &connection{fd: fd}
	l.all, l.free = append(l.all, c), append(l.free, c)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrInet4{Port: int(l.to.Port()), Addr: l.to.Addr().As4()})
}

// await reads what comes until then.
func (l *load) await(wait time.Duration) error {
	var fds []unix.PollFd
	var of []*connection
	for _, c := range l.all {
		if c.busy {
			fds, of = append(fds, unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN}), append(of, c)
		}
	}
	timeout := unix.NsecToTimespec(int64(wait))
	n, err := unix.Ppoll(fds, &timeout, nil)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	if n == 0 && wait == time.Minute {
		return errors.New("no answer for a minute")
	}
	for i, f := range fds {
		if f.Revents == 0 {
			continue
		}
		done, err := of[i].receive(l.bytes)
		if err != nil {
			return err
		}
		if done {
			l.took = append(l.took, time.Since(l.begun)-of[i].due)
			l.free = append(l.free, of[i])
		}
	}
	return nil
}

// receive reads once. done is that the answer is whole.
func (c *connection) receive(want int) (done bool, err error) {
	var buffer [64 << 10]byte
	n, err := unix.Read(c.fd, buffer[:])
	if err != nil {
		return false, fmt.Errorf("read: %w", err)
	}
	if n == 0 {
		return false, errors.New("a connection was closed")
	}
	if c.whole {
		c.left -= n
	} else {
		c.read = append(c.read, buffer[:n]...)
		head, body, ok := bytes.Cut(c.read, []byte("\r\n\r\n"))
		if !ok {
			return false, nil
		}
		if c.left, err = length(head); err != nil {
			return false, err
		}
		if c.left != want {
			return false, fmt.Errorf("%d bytes come, and not %d", c.left, want)
		}
		c.whole, c.left = true, c.left-len(body)
	}
	if c.left < 0 {
		return false, errors.New("more comes than was asked for")
	}
	if c.left == 0 {
		c.busy, c.whole, c.read = false, false, c.read[:0]
		return true, nil
	}
	return false, nil
}

// length is how long the body of an answer is, which must be 200.
func length(head []byte) (int, error) {
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("an answer begins with %.60q", head)
	}
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("content-length")) {
			return strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	return 0, errors.New("an answer does not say how long it is")
}
