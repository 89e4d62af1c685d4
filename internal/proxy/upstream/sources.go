package upstream

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// sources are the addresses that connections are bound to: the first, and for destinations of the other IP family those that are extra (BindConfig).
// None that is valid leaves it to the kernel.
type sources struct{ first, other netip.AddrPort }

// to gives the source for a destination.
func (s sources) to(destination netip.AddrPort) netip.AddrPort {
	if s.other.IsValid() && destination.Addr().Is4() == s.other.Addr().Is4() {
		return s.other
	}
	return s.first
}

func compileSources(b *corev3.BindConfig) (s sources, err error) {
	if b.GetSourceAddress() == nil {
		return s, nil
	}
	if s.first, err = sourceOf(b.GetSourceAddress()); err != nil {
		return s, field.In("source_address", err)
	}
	for i, extra := range b.GetExtraSourceAddresses() {
		at, err := sourceOf(extra.GetAddress())
		if err != nil {
			return s, field.At("extra_source_addresses", i, field.In("address", err))
		}
		if at.Addr().Is4() != s.first.Addr().Is4() && !s.other.IsValid() {
			s.other = at
		}
	}
	return s, nil
}

func sourceOf(a *corev3.SocketAddress) (netip.AddrPort, error) {
	ip, err := netip.ParseAddr(a.GetAddress())
	if err != nil || a.GetPortValue() > 65535 {
		return netip.AddrPort{}, field.Errorf("address", "%q, port %d is no IP address with a port", a.GetAddress(), a.GetPortValue())
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.GetPortValue())), nil
}
