package redirect

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// loopbackIndex is lo's in every network namespace (LOOPBACK_IFINDEX in Linux' include/linux/netdevice.h).
const loopbackIndex = 1

// addPassthroughSource gives ::6 to loopback, unless it has it or there is no IPv6. 127.0.0.6 is loopback's as it is.
func addPassthroughSource() error {
	if !hasIPv6() {
		return nil
	}
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	source := netip.MustParseAddr("::6")
	// struct ifaddrmsg: family, length of the prefix, flags, scope, index.
	msg := []byte{unix.AF_INET6, 128, unix.IFA_F_NODAD, unix.RT_SCOPE_HOST}
	msg = binary.NativeEndian.AppendUint32(msg, loopbackIndex)
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.IFA_LOCAL, Data: source.AsSlice()}, {Type: unix.IFA_ADDRESS, Data: source.AsSlice()},
	})
	if err != nil {
		return err
	}
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWADDR, Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Replace},
		Data:   append(msg, attrs...),
	})
	return err
}
