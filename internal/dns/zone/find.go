package zone

import (
	"bytes"
	"net/netip"

	"github.com/weftmesh/weft/internal/dns/wire"
)

// node is what a name is.
type node uint8

const (
	outside      node = iota // not a name of this zone
	nothing                  // does not exist (NXDOMAIN)
	between                  // exists only because names under it do, or may
	apex                     // the cluster domain itself
	versionNode              // dns-version.<domain>
	nameserver               // ns.dns.<domain>
	podNode                  // an address, under <namespace>.pod.<domain>
	serviceNode              // a Service
	endpointNode             // an endpoint of a Service
	portNode                 // _port._proto of a Service
	reverseNode              // an address, under in-addr.arpa or ip6.arpa
)

// found is a name and what is known of it.
type found struct {
	node     node
	reverse  bool       // the name is of a reverse zone
	level    int        // label at which the zone begins, for the SOA
	records  *Records   // of serviceNode, endpointNode, portNode, and of nothing if there is a Service
	index    int        // of the host or port
	address  netip.Addr // of podNode and reverseNode
	pointers []pointer  // of reverseNode
}

// find tells what a name is.
func (z *Zone) find(n *wire.Name) found {
	level := n.Labels() - z.levels
	if level < 0 || string(n.From(level)) != z.domain {
		return z.findReverse(n)
	}
	f := found{node: nothing, level: level}
	switch {
	case level == 0:
		f.node = apex
	case level == 1 && string(n.Label(0)) == "dns-version":
		f.node = versionNode
	default:
		switch string(n.Label(level - 1)) {
		case "svc":
			z.findService(n, &f)
		case "pod":
			z.findPod(n, &f)
		case "dns":
			if level == 1 {
				f.node = between
			} else if level == 2 && string(n.Label(0)) == "ns" {
				f.node, f.records = nameserver, z.records([]byte(z.nameserver))
			}
		}
	}
	return f
}

// findService is for names under svc.<domain>.
func (z *Zone) findService(n *wire.Name, f *found) {
	svc := f.level - 1 // the label "svc"
	switch svc {
	case 0:
		f.node = between
		return
	case 1:
		if z.hasNamespace(n.Between(0, 1)) {
			f.node = between
		}
		return
	}
	r := z.records(n.Between(svc-2, svc))
	if f.records = r; r == nil || r.Empty() {
		return
	}
	switch svc {
	case 2:
		f.node = serviceNode
	case 3:
		if f.index = r.findHost(n.Label(0)); f.index >= 0 {
			f.node = endpointNode
		} else if r.hasProtocol(n.Label(0)) {
			f.node = between
		}
	case 4:
		if f.index = r.findPort(n.Label(0), n.Label(1)); f.index >= 0 {
			f.node = portNode
		}
	}
}

// findPod is for names under pod.<domain> (specification 2.6, CoreDNS' "pods insecure").
func (z *Zone) findPod(n *wire.Name, f *found) {
	pod := f.level - 1 // the label "pod"
	switch {
	case pod == 0:
		f.node = between
	case pod > 2 || !z.hasNamespace(n.Between(pod-1, pod)):
	case pod == 1:
		f.node = between
	default:
		if a, ok := dashed(n.Label(0)); ok {
			f.node, f.address = podNode, a
		}
	}
}

// dashed reads an address written as a label: 10-1-2-3, fd00--7.
func dashed(label []byte) (netip.Addr, bool) {
	var b [wire.MaxLabel]byte
	text := b[:copy(b[:], label)]
	sep := byte(':')
	if bytes.Count(text, []byte("-")) == 3 && !bytes.Contains(text, []byte("--")) {
		sep = '.'
	}
	for i, c := range text {
		if c == '-' {
			text[i] = sep
		}
	}
	a, err := netip.ParseAddr(string(text))
	return a, err == nil && a.Zone() == "" && !a.Is4In6()
}

// findReverse is for names under in-addr.arpa and ip6.arpa that are whole addresses.
func (z *Zone) findReverse(n *wire.Name) found {
	a, ok := reversed(n)
	if !ok {
		return found{}
	}
	f := found{node: reverseNode, reverse: true, level: n.Labels() - 2, address: a}
	if f.pointers, ok = z.ptrs.get(a); ok {
		return f
	}
	for _, p := range z.reverse {
		if p.Contains(a) {
			f.node = nothing
			return f
		}
	}
	return found{}
}

const (
	arpa4 = "\x07in-addr\x04arpa\x00"
	arpa6 = "\x03ip6\x04arpa\x00"
)

// reversed reads the address that a reverse name stands for (RFC 1035 section 3.5, RFC 3596 section 2.5).
func reversed(n *wire.Name) (netip.Addr, bool) {
	switch n.Labels() {
	case 4 + 2:
		var v [4]byte
		if string(n.From(4)) != arpa4 {
			break
		}
		for i := range v {
			l := n.Label(3 - i)
			x := 0
			for _, c := range l {
				if c < '0' || c > '9' {
					return netip.Addr{}, false
				}
				x = 10*x + int(c-'0')
			}
			if len(l) > 3 || x > 255 || len(l) > 1 && l[0] == '0' {
				return netip.Addr{}, false
			}
			v[i] = byte(x)
		}
		return netip.AddrFrom4(v), true
	case 32 + 2:
		var v [16]byte
		if string(n.From(32)) != arpa6 {
			break
		}
		for i := range 32 {
			l := n.Label(31 - i)
			x := bytes.IndexByte([]byte("0123456789abcdef"), l[0])
			if len(l) != 1 || x < 0 {
				return netip.Addr{}, false
			}
			v[i/2] = v[i/2]<<4 | byte(x)
		}
		return netip.AddrFrom16(v), true
	}
	return netip.Addr{}, false
}
