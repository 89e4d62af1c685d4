package redirect

import (
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// steps are expressions in the order in which a packet meets them. One that does not match ends the rule.
type steps []expr.Any

// nameBytes is what the kernel keeps for the name of an interface, its end included.
const nameBytes = unix.IFNAMSIZ

const register = unix.NFT_REG_1

func compare(op expr.CmpOp, v []byte) expr.Any { return &expr.Cmp{Op: op, Register: register, Data: v} }

func equal(v []byte) expr.Any { return compare(expr.CmpOpEq, v) }

func meta(key expr.MetaKey, op expr.CmpOp, v []byte) steps {
	return steps{&expr.Meta{Key: key, Register: register}, compare(op, v)}
}

func tcp() steps { return meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{unix.IPPROTO_TCP}) }

func from(iface string) steps { return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, padded(iface)) }
func to(iface string) steps   { return meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, padded(iface)) }

func padded(iface string) []byte {
	b := make([]byte, nameBytes)
	copy(b, iface)
	return b
}

// user goes on if the socket that sends is of a user, or, inverted, of any other or of none.
func user(id uint32, not bool) steps { return owner(expr.MetaKeySKUID, id, not) }

// group is the same for the group.
func group(id uint32, not bool) steps { return owner(expr.MetaKeySKGID, id, not) }

func owner(key expr.MetaKey, id uint32, not bool) steps {
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	return meta(key, op, binaryutil.NativeEndian.PutUint32(id))
}

// dport goes on if the packet is for a port. It comes after tcp.
func dport(port uint16) steps    { return port16(expr.CmpOpEq, port) }
func notDport(port uint16) steps { return port16(expr.CmpOpNeq, port) }

func port16(op expr.CmpOp, port uint16) steps {
	return steps{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		compare(op, binaryutil.BigEndian.PutUint16(port)),
	}
}

func saddr(p netip.Prefix) steps    { return address(p, 12, 8, expr.CmpOpEq) }
func daddr(p netip.Prefix) steps    { return address(p, 16, 24, expr.CmpOpEq) }
func notDaddr(p netip.Prefix) steps { return address(p, 16, 24, expr.CmpOpNeq) }

// address goes on if an address of the packet is in a prefix, or is not; packets of the other family end the rule either way.
func address(p netip.Prefix, offset4, offset6 uint32, op expr.CmpOp) steps {
	family, offset, n := byte(unix.NFPROTO_IPV4), offset4, uint32(4)
	if p.Addr().Is6() {
		family, offset, n = unix.NFPROTO_IPV6, offset6, 16
	}
	out := meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{family})
	if p.Bits() == 0 && op == expr.CmpOpEq {
		return out
	}
	out = append(out, &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: n})
	if p.Bits() < int(n)*8 {
		mask := make([]byte, n)
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		out = append(out, &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: n, Mask: mask, Xor: make([]byte, n)})
	}
	return append(out, compare(op, p.Masked().Addr().AsSlice()))
}

// daddrIsLocal goes on if the packet is for an address of this namespace.
func daddrIsLocal() steps {
	return steps{&expr.Fib{Register: register, FlagDADDR: true, ResultADDRTYPE: true}, equal(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL))}
}

// isNew goes on if the packet opens a connection.
func isNew() steps { return conntrack(expr.CtKeySTATE, expr.CtStateBitNEW, expr.CmpOpNeq) }

// notTranslated goes on unless the connection's destination was changed, by whomever.
func notTranslated() steps {
	const dstNAT = 1 << 5 // IPS_DST_NAT
	return conntrack(expr.CtKeySTATUS, dstNAT, expr.CmpOpEq)
}

// conntrack compares what conntrack says of the packet in one bit with zero.
func conntrack(key expr.CtKey, bit uint32, op expr.CmpOp) steps {
	zero := binaryutil.NativeEndian.PutUint32(0)
	return steps{
		&expr.Ct{Register: register, Key: key},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bit), Xor: zero},
		compare(op, zero),
	}
}

// turnTo hands the connection to a port of this namespace.
func turnTo(port uint16) steps {
	return steps{&expr.Immediate{Register: register, Data: binaryutil.BigEndian.PutUint16(port)}, &expr.Redir{RegisterProtoMin: register}}
}

func reset() steps { return steps{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }
