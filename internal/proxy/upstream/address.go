package upstream

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// address is where connections go.
type address struct {
	network string         // "tcp" or "unix"
	text    string         // "10.0.0.1:80", "[fd00::1]:80", a path; for DNS "name:80"
	ip      netip.AddrPort // of a TCP address; not valid for a name
	host    string         // of a name
	port    uint16
}

func compileHost(host string, port uint16, names bool) (address, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		if !names || host == "" {
			return address{}, field.Errorf("socket_address.address", "%q is no IP address", host)
		}
		return address{network: "tcp", text: net.JoinHostPort(host, strconv.Itoa(int(port))), host: host, port: port}, nil
	}
	return ipAddress(netip.AddrPortFrom(ip.Unmap(), port)), nil
}

func ipAddress(ap netip.AddrPort) address {
	return address{network: "tcp", text: ap.String(), ip: ap, port: ap.Port()}
}
