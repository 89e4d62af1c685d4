package redirect

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Who the proxy is, unless a Config says otherwise. The numbers are Istio's.
const (
	OutboundPort = 15001
	InboundPort  = 15006
	ProxyUID     = 1337
	ProxyGID     = 1337

	tunnelPort = 15008 // for tunnels of Istio's ambient mode, which nobody may put into another
)

// AlwaysExcluded are the ports that the proxy serves itself: metrics and the application's probes, its readiness, Envoy's metrics.
var AlwaysExcluded = []uint16{15020, 15021, 15090}

// Config says what is turned where. Default gives one to begin with.
type Config struct {
	Outbound, Inbound  uint16 // ports of the proxy
	ProxyUID, ProxyGID uint32 // whose connections are the proxy's own

	InboundPorts   Ports    // what is turned of that which comes in
	ExcludeInbound []uint16 // and what is not, AlwaysExcluded being added

	OutboundRanges  []netip.Prefix // what is turned of that which goes out, by where it goes
	ExcludeRanges   []netip.Prefix // and what is not
	OutboundPorts   []uint16       // what is turned although it goes elsewhere
	ExcludeOutbound []uint16       // what is not turned wherever it goes

	ExcludeInterfaces []string // whose traffic stays as it is, both ways
}

// Default turns everything.
func Default() Config {
	return Config{
		Outbound: OutboundPort, Inbound: InboundPort, ProxyUID: ProxyUID, ProxyGID: ProxyGID,
		InboundPorts: Ports{All: true}, OutboundRanges: everywhere(),
	}
}

func everywhere() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
}

// Ports is a list of ports, or all.
type Ports struct {
	All  bool
	List []uint16
}

func (p Ports) String() string {
	if p.All {
		return "*"
	}
	return portList(p.List)
}

// ParsePorts reads a list of ports separated by commas, "*" for all, or nothing for none.
func ParsePorts(text string) (Ports, error) {
	if strings.TrimSpace(text) == "*" {
		return Ports{All: true}, nil
	}
	list, err := ParsePortList(text)
	return Ports{List: list}, err
}

// ParsePortList reads ports separated by commas.
func ParsePortList(text string) ([]uint16, error) {
	return parse(text, func(item string) (uint16, error) {
		n, err := strconv.ParseUint(item, 10, 16)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("%q is no port", item)
		}
		return uint16(n), nil
	})
}

// ParseRanges reads ranges of addresses separated by commas, as 10.0.0.0/8,fd00::/8. "*" is everywhere, an address is a range of one.
func ParseRanges(text string) ([]netip.Prefix, error) {
	if strings.TrimSpace(text) == "*" {
		return everywhere(), nil
	}
	return parse(text, func(item string) (netip.Prefix, error) {
		if a, err := netip.ParseAddr(item); err == nil && !a.Is4In6() && a.Zone() == "" {
			return netip.PrefixFrom(a, a.BitLen()), nil
		}
		p, err := netip.ParsePrefix(item)
		if err != nil || p.Addr().Is4In6() {
			return netip.Prefix{}, fmt.Errorf("%q is no range of addresses", item)
		}
		return p.Masked(), nil
	})
}

// ParseInterfaces reads names of network interfaces separated by commas.
func ParseInterfaces(text string) ([]string, error) {
	return parse(text, func(item string) (string, error) {
		// What dev_valid_name in Linux' net/core/dev.c says.
		if len(item) >= nameBytes || item == "." || item == ".." || strings.ContainsAny(item, "/: \t\n\v\f\r\x00") {
			return "", fmt.Errorf("%q is no name of a network interface", item)
		}
		return item, nil
	})
}

func parse[T any](text string, one func(string) (T, error)) (out []T, err error) {
	var errs []error
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		v, err := one(item)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, v)
	}
	return out, errors.Join(errs...)
}

// Args gives the flags of weft-proxy redirect that say the same; those that would say what is the default are left out.
func (c Config) Args() []string {
	d := Default()
	var args []string
	add := func(flag, value, usual string) {
		if value != usual {
			args = append(args, "--"+flag+"="+value)
		}
	}
	number := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	add(FlagOutboundPort, number(uint32(c.Outbound)), number(uint32(d.Outbound)))
	add(FlagInboundPort, number(uint32(c.Inbound)), number(uint32(d.Inbound)))
	add(FlagProxyUID, number(c.ProxyUID), number(d.ProxyUID))
	add(FlagProxyGID, number(c.ProxyGID), number(d.ProxyGID))
	add(FlagInboundPorts, c.InboundPorts.String(), d.InboundPorts.String())
	add(FlagExcludeInbound, portList(c.ExcludeInbound), "")
	add(FlagOutboundRanges, rangeList(c.OutboundRanges), rangeList(d.OutboundRanges))
	add(FlagExcludeRanges, rangeList(c.ExcludeRanges), "")
	add(FlagOutboundPorts, portList(c.OutboundPorts), "")
	add(FlagExcludeOutbound, portList(c.ExcludeOutbound), "")
	add(FlagExcludeInterfaces, strings.Join(c.ExcludeInterfaces, ","), "")
	return args
}

// The flags of weft-proxy redirect, one for each field of Config.
const (
	FlagOutboundPort      = "outbound-port"
	FlagInboundPort       = "inbound-port"
	FlagProxyUID          = "proxy-uid"
	FlagProxyGID          = "proxy-gid"
	FlagInboundPorts      = "include-inbound-ports"
	FlagExcludeInbound    = "exclude-inbound-ports"
	FlagOutboundRanges    = "include-outbound-ranges"
	FlagExcludeRanges     = "exclude-outbound-ranges"
	FlagOutboundPorts     = "include-outbound-ports"
	FlagExcludeOutbound   = "exclude-outbound-ports"
	FlagExcludeInterfaces = "exclude-interfaces"
)

func portList(ports []uint16) string {
	return list(ports, func(p uint16) string { return strconv.FormatUint(uint64(p), 10) })
}

func rangeList(ranges []netip.Prefix) string {
	if slices.Equal(ranges, everywhere()) {
		return "*"
	}
	return list(ranges, netip.Prefix.String)
}

func list[T any](all []T, text func(T) string) string {
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = text(v)
	}
	return strings.Join(words, ",")
}

// check tells what no table could hold.
func (c Config) check() error {
	switch {
	case c.Outbound == 0 || c.Inbound == 0:
		return errors.New("a port of the proxy is 0")
	case c.Outbound == c.Inbound:
		return fmt.Errorf("both ports of the proxy are %d", c.Inbound)
	case c.ProxyUID == 0 || c.ProxyGID == 0:
		return errors.New("the proxy's user or group is 0, which an application may be as well")
	}
	return nil
}
