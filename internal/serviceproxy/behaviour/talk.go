package behaviour

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/model"
)

const (
	// patience is how long an answer may take that must come.
	patience = 5 * time.Second
	// silence is how long nothing must come where nothing may.
	silence = 300 * time.Millisecond
)

// answer is what a server says to each line: who it is, and whom it sees.
type answer struct {
	server string
	peer   netip.Addr
	port   uint16 // the server's own
}

// serve answers on TCP and UDP ports of a namespace until the test is over.
func serve(t *testing.T, n *NetNS, ports ...uint16) {
	t.Helper()
	var running sync.WaitGroup
	t.Cleanup(running.Wait) // after everything is closed
	for _, port := range ports {
		var tcp net.Listener
		var udp net.PacketConn
		err := n.Do(func() (err error) {
			var plain net.ListenConfig
			plain.SetMultipathTCP(false)
			if tcp, err = plain.Listen(context.Background(), "tcp", fmt.Sprintf(":%d", port)); err != nil {
				return err
			}
			udp, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
			return err
		})
		if err != nil {
			t.Fatalf("serving in %s: %v", n.Name, err)
		}
		line := func(peer net.Addr) []byte {
			a := netip.MustParseAddrPort(peer.String()).Addr().Unmap()
			return fmt.Appendf(nil, "%s %s %d\n", n.Name, a, port)
		}
		running.Go(func() {
			buf := make([]byte, 2048)
			for {
				_, peer, err := udp.ReadFrom(buf)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					_, _ = udp.WriteTo(line(peer), peer)
				}
			}
		})
		var conns sync.Map
		running.Go(func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				conns.Store(c, nil)
				running.Go(func() {
					defer conns.Delete(c)
					defer c.Close()
					for in := bufio.NewReader(c); ; {
						if _, err := in.ReadString('\n'); err != nil {
							return
						}
						if _, err := c.Write(line(c.RemoteAddr())); err != nil {
							return
						}
					}
				})
			}
		})
		t.Cleanup(func() {
			_ = tcp.Close()
			_ = udp.Close()
			conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		})
	}
}

// dial connects from a namespace; from may be zero. The connection has the deadline that wait gives.
func dial(n *NetNS, p model.Protocol, from netip.Addr, to netip.AddrPort, wait time.Duration) (net.Conn, error) {
	var c net.Conn
	err := n.Do(func() (err error) {
		d := net.Dialer{Timeout: wait, FallbackDelay: -1}
		network := strings.ToLower(p.String())
		if from.IsValid() {
			switch p {
			case model.TCP:
				d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
			default:
				d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
			}
		}
		c, err = d.Dial(network, to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // no TIME_WAIT between two cases
	}
	return c, c.SetDeadline(time.Now().Add(wait))
}

// say sends a line and reads the answer.
func say(c net.Conn) (a answer, err error) {
	if _, err := c.Write([]byte("hello\n")); err != nil {
		return a, err
	}
	buf := make([]byte, 256)
	n, err := c.Read(buf)
	if err != nil {
		return a, err
	}
	var peer string
	if _, err := fmt.Sscanf(string(buf[:n]), "%s %s %d\n", &a.server, &peer, &a.port); err != nil {
		return a, fmt.Errorf("answer %q: %w", buf[:n], err)
	}
	a.peer, err = netip.ParseAddr(peer)
	return a, err
}

// ask connects, says a line, and gives the answer.
func ask(n *NetNS, p model.Protocol, from netip.Addr, to netip.AddrPort, wait time.Duration) (answer, error) {
	c, err := dial(n, p, from, to, wait)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	return say(c)
}

// outcome names how a request ended.
type outcome string

const (
	answered outcome = "answered"
	refused  outcome = "refused"
	silent   outcome = "silent"
	broken   outcome = "broken"
)

func outcomeOf(err error) outcome {
	var timeout net.Error
	switch {
	case err == nil:
		return answered
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EPERM): // the latter is what a datagram's sender on the node itself is told
		return refused
	case errors.As(err, &timeout) && timeout.Timeout():
		return silent
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return broken
	}
	return outcome(err.Error())
}
