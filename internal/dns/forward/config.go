package forward

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"
)

// Config is what a [Forwarder] is told once. Zero values are the defaults.
type Config struct {
	// Upstreams are the resolvers to ask. Without any, everything is refused at once.
	Upstreams []netip.AddrPort

	// Attempt is how long one server may take to answer before the next is asked (2 s), Timeout how long all of them together (5 s: what
	// resolvers in Pods wait for).
	Attempt, Timeout time.Duration

	// CacheBytes bounds the memory of the cache, in bytes of messages and keys (16 MiB).
	CacheBytes int

	// MaxTTL and MaxNegativeTTL bound how long answers are kept, whatever they say themselves (an hour, and 30 s for the answer that
	// there is nothing).
	MaxTTL, MaxNegativeTTL time.Duration

	// Stale is how long after its end an answer may still be given while no upstream answers (an hour; negative is never).
	Stale time.Duration

	// Probe is how often a server that failed is tried again (500 ms).
	Probe time.Duration

	// UDPSize is the size of answers offered to upstreams and to askers, in bytes (1232, which no path fragments).
	UDPSize uint16

	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Attempt = cmp.Or(c.Attempt, 2*time.Second)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.CacheBytes = cmp.Or(c.CacheBytes, 16<<20)
	c.MaxTTL = cmp.Or(c.MaxTTL, time.Hour)
	c.MaxNegativeTTL = cmp.Or(c.MaxNegativeTTL, 30*time.Second)
	c.Stale = cmp.Or(c.Stale, time.Hour)
	c.Probe = cmp.Or(c.Probe, 500*time.Millisecond)
	c.UDPSize = cmp.Or(c.UDPSize, 1232)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// ParseUpstreams reads a list like "10.0.0.53,[fd00::53]:5353": addresses, with a port unless it is 53.
func ParseUpstreams(list string) ([]netip.AddrPort, error) {
	var ups []netip.AddrPort
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if a, err := netip.ParseAddr(s); err == nil {
			ups = append(ups, netip.AddrPortFrom(a.Unmap(), 53))
			continue
		}
		ap, err := netip.ParseAddrPort(s)
		if err != nil || ap.Port() == 0 {
			return nil, fmt.Errorf("upstream %q: neither an address nor an address with a port", s)
		}
		ups = append(ups, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
	}
	return ups, nil
}

// ResolvConf reads the name servers of a resolv.conf(5). Lines it does not understand are passed over, as resolvers do.
func ResolvConf(r io.Reader) ([]netip.AddrPort, error) {
	var ups []netip.AddrPort
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			ups = append(ups, netip.AddrPortFrom(a.Unmap(), 53))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("resolv.conf: %w", err)
	}
	return ups, nil
}
