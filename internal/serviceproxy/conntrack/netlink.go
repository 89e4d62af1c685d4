//go:build linux

package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// Attributes of ctnetlink that the netlink library has no names for (linux/netfilter/nfnetlink_conntrack.h and, for the flags, the kernel's
// nf_internals.h).
const (
	ctaFilter          = 25
	ctaFilterOrigFlags = 1
	filterProtoNum     = 1 << 3
)

// dumpTries is how often a dump is made when the table was resized meanwhile, which can hide entries.
const dumpTries = 3

// socketTimeout bounds every single read and write of a netlink socket.
var socketTimeout = unix.Timeval{Sec: 10}

// Cleaner deletes stale flows in the network namespace it was opened in. Calls must come one at a time.
type Cleaner struct {
	conntrack *nl.SocketHandle
	addresses *netlink.Handle
}

// Open opens the sockets in the network namespace of the calling thread. It needs CAP_NET_ADMIN.
func Open() (*Cleaner, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("conntrack: open netlink socket: %w", err)
	}
	if err := errors.Join(socket.SetReceiveTimeout(&socketTimeout), socket.SetSendTimeout(&socketTimeout)); err != nil {
		socket.Close()
		return nil, fmt.Errorf("conntrack: set timeouts of netlink socket: %w", err)
	}
	addresses, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("conntrack: open route socket: %w", err)
	}
	return &Cleaner{conntrack: &nl.SocketHandle{Socket: socket}, addresses: addresses}, nil
}

// Close releases the sockets.
func (c *Cleaner) Close() error {
	c.conntrack.Close()
	c.addresses.Close()
	return nil
}

// Result is what a cleaning did.
type Result struct {
	Seen    int // flows the kernel showed us
	Deleted int // stale ones that are gone
}

// Clean deletes the flows of the diff's frontends that lead elsewhere than the frontend does now. The diff says what is in force already: Set
// are frontends as they are, Delete those that are no more. It costs one dump per family and protocol, however many frontends there are, and nothing
// at all if none is of a tracked protocol. What could not be done is in the error; everything else is done.
func (c *Cleaner) Clean(ctx context.Context, diff *plan.Diff) (Result, error) {
	var done Result
	var errs []error
	sel := newSelection(diff)
	if sel.nodePorts() {
		var err error
		if sel.local, err = c.localAddresses(); err != nil {
			errs = append(errs, err)
		}
	}
	for _, t := range sel.tables() {
		stale, seen, err := c.dump(sel, t)
		for try := 1; errors.Is(err, netlink.ErrDumpInterrupted) && try < dumpTries; try++ {
			stale, seen, err = c.dump(sel, t)
		}
		done.Seen += seen
		if err != nil {
			errs = append(errs, fmt.Errorf("conntrack: list %v flows: %w", t.protocol, err))
		}
		for _, entry := range stale {
			if ctx.Err() != nil {
				return done, errors.Join(append(errs, ctx.Err())...)
			}
			switch err := c.delete(entry); {
			case err == nil:
				done.Deleted++
			case !errors.Is(err, unix.ENOENT): // it may have ended by itself
				errs = append(errs, fmt.Errorf("conntrack: delete %v flow: %w", t.protocol, err))
			}
		}
	}
	return done, errors.Join(errs...)
}

func (c *Cleaner) localAddresses() (map[netip.Addr]bool, error) {
	list, err := c.addresses.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("conntrack: list the node's addresses: %w", err)
	}
	out := map[netip.Addr]bool{}
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			out[addr.Unmap()] = true
		}
	}
	return out, nil
}

// dump gives the stale entries of a table, as they came from the kernel. The kernel filters by protocol since 5.8; an older one ignores the
// filter and shows everything.
func (c *Cleaner) dump(sel *selection, t table) (stale [][]byte, seen int, err error) {
	family := uint8(unix.AF_INET)
	if t.family == plan.IPv6 {
		family = unix.AF_INET6
	}
	req := c.request(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, family)
	tuple := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, nil)
	tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil).AddRtAttr(nl.CTA_PROTO_NUM, nl.Uint8Attr(uint8(t.protocol)))
	filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
	filter.AddRtAttr(ctaFilterOrigFlags, nl.Uint32Attr(filterProtoNum))
	req.AddData(tuple)
	req.AddData(filter)
	err = req.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(msg []byte) bool {
		seen++
		if f, ok := parse(msg); ok && f.protocol == t.protocol && sel.stale(f) {
			stale = append(stale, append([]byte(nil), msg...))
		}
		return true
	})
	return stale, seen, err
}

// delete removes one entry; its id makes sure that it is not a newer one of the same addresses.
func (c *Cleaner) delete(entry []byte) error {
	req := c.request(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, entry[0])
	for typ, value := range attributes(entry[nl.SizeofNfgenmsg:]) {
		switch typ {
		case nl.CTA_TUPLE_ORIG:
			req.AddData(nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, value))
		case nl.CTA_ID, nl.CTA_ZONE:
			req.AddData(nl.NewRtAttr(int(typ), value))
		}
	}
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

func (c *Cleaner) request(operation, flags int, family uint8) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(netlink.ConntrackTable<<8|operation, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: c.conntrack}
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return req
}

// parse reads a ctnetlink message without its netlink header.
func parse(msg []byte) (f flow, ok bool) {
	if len(msg) < nl.SizeofNfgenmsg {
		return flow{}, false
	}
	for typ, value := range attributes(msg[nl.SizeofNfgenmsg:]) {
		switch typ {
		case nl.CTA_TUPLE_ORIG:
			f.protocol, _, f.dialled = tuple(value)
		case nl.CTA_TUPLE_REPLY:
			_, f.answers, _ = tuple(value)
		}
	}
	return f, f.dialled.IsValid() && f.answers.IsValid()
}

func tuple(b []byte) (proto model.Protocol, src, dst netip.AddrPort) {
	var from, to netip.Addr
	var sport, dport uint16
	for typ, value := range attributes(b) {
		switch typ {
		case nl.CTA_TUPLE_IP:
			for typ, value := range attributes(value) {
				addr, _ := netip.AddrFromSlice(value)
				switch typ {
				case nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC:
					from = addr
				case nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST:
					to = addr
				}
			}
		case nl.CTA_TUPLE_PROTO:
			for typ, value := range attributes(value) {
				switch {
				case typ == nl.CTA_PROTO_NUM && len(value) >= 1:
					proto = model.Protocol(value[0])
				case typ == nl.CTA_PROTO_SRC_PORT && len(value) >= 2:
					sport = binary.BigEndian.Uint16(value)
				case typ == nl.CTA_PROTO_DST_PORT && len(value) >= 2:
					dport = binary.BigEndian.Uint16(value)
				}
			}
		}
	}
	return proto, netip.AddrPortFrom(from, sport), netip.AddrPortFrom(to, dport)
}

// attributes goes through netlink attributes and stops at the first that does not fit.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.NLA_HDRLEN {
			size := int(binary.NativeEndian.Uint16(b))
			typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if size < unix.NLA_HDRLEN || size > len(b) || !yield(typ, b[unix.NLA_HDRLEN:size]) {
				return
			}
			b = b[min((size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
		}
	}
}
