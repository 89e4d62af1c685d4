package model

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Claim is a place in the cluster that only one Service can have: an address with a protocol and port; a node port (no address); or an
// address as a whole (no protocol and port), as a ClusterIP is.
type Claim struct {
	Addr     netip.Addr
	Protocol Protocol
	Port     uint16
}

// String reads "198.51.100.10 TCP 80", "node port UDP 30053" or "10.96.0.10".
func (c Claim) String() string {
	switch {
	case !c.Addr.IsValid():
		return fmt.Sprintf("node port %v %d", c.Protocol, c.Port)
	case c.Port == 0:
		return c.Addr.String()
	}
	return fmt.Sprintf("%v %v %d", c.Addr, c.Protocol, c.Port)
}

// Compare orders claims by address, protocol and port.
func (c Claim) Compare(o Claim) int {
	return cmp.Or(c.Addr.Compare(o.Addr), cmp.Compare(c.Protocol, o.Protocol), cmp.Compare(c.Port, o.Port))
}

// HasLost tells whether an older Service holds a place that this one asks for, by itself or as part of an address that is held whole.
func (s *Service) HasLost(c Claim) bool {
	return slices.Contains(s.Lost, c) || c.Addr.IsValid() && slices.Contains(s.Lost, Claim{Addr: c.Addr})
}

// PortClaims lists the places that a Service could have to share: those that name a port.
func (s *Service) PortClaims() (out []Claim) {
	for _, p := range s.Ports {
		for _, a := range s.ExternalIPs {
			out = append(out, Claim{Addr: a, Protocol: p.Protocol, Port: p.Port})
		}
		for _, a := range s.LoadBalancerIPs {
			out = append(out, Claim{Addr: a, Protocol: p.Protocol, Port: p.Port})
		}
		if p.NodePort != 0 {
			out = append(out, Claim{Protocol: p.Protocol, Port: p.NodePort})
		}
	}
	return out
}
