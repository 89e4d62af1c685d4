package nftables

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// rules builds rules of one family. Registers are counted in units of four bytes, as concatenations are laid out.
type rules struct {
	fam  family
	mark uint32
}

// steps are expressions in the order in which a packet meets them. A step that does not match ends the rule.
type steps []expr.Any

// rule encodes a rule. Expressions that cannot be encoded are a mistake in this file, which New reports.
func (r rules) rule(comment string, parts ...steps) rule {
	var w wire
	for _, e := range slices.Concat(parts...) {
		b, err := expr.Marshal(r.fam.protocol(), e)
		if err != nil {
			return rule{err: fmt.Errorf("rule %q: %w", comment, err)}
		}
		w.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, b)
	}
	return rule{exprs: w.b, comment: comment}
}

func (r rules) addrRegs() int { return r.fam.addrBytes() / 4 }
func (r rules) keyRegs() int  { return r.addrRegs() + 2 }

// reg names a register. Every fourth has a name from the time when registers had sixteen bytes, and the kernel shows that.
func reg(n int) uint32 {
	if n%4 == 0 {
		return unix.NFT_REG_1 + uint32(n/4)
	}
	return unix.NFT_REG32_00 + uint32(n)
}

func (r rules) saddr(at int) steps { return r.address(at, [...]uint32{12, 8}[r.fam]) }
func (r rules) daddr(at int) steps { return r.address(at, [...]uint32{16, 24}[r.fam]) }

func (r rules) address(at int, offset uint32) steps {
	return steps{&expr.Payload{DestRegister: reg(at), Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(r.fam.addrBytes())}}
}

// key loads what identifies a frontend: address (zero for node ports), protocol, port.
func (r rules) key(at int, nodePort bool) steps {
	out := r.daddr(at)
	if nodePort {
		// Written as nft can say it: ip daddr & 0.0.0.0.
		zero := make([]byte, r.fam.addrBytes())
		out = append(out, &expr.Bitwise{SourceRegister: reg(at), DestRegister: reg(at), Len: uint32(len(zero)), Mask: zero, Xor: zero})
	}
	at += r.addrRegs()
	return append(out,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg(at)},
		&expr.Payload{DestRegister: reg(at + 1), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	)
}

// lookup finds the key at a register in a map, and puts the value into another; a verdict is carried out instead.
func (r rules) lookup(key int, in setID, to int) steps {
	l := &expr.Lookup{SourceRegister: reg(key), SetName: in.String(), IsDestRegSet: true, DestRegister: reg(to)}
	if in.def().value == verdictValue {
		l.DestRegister = unix.NFT_REG_VERDICT
	}
	return steps{l}
}

// member goes on if the key at a register is in a set, or, inverted, if it is not.
func (r rules) member(key int, in setID, not bool) steps {
	return steps{&expr.Lookup{SourceRegister: reg(key), SetName: in.String(), Invert: not}}
}

// prefix goes on if the address that was loaded into register 0 is in a prefix.
func (r rules) prefix(loaded steps, p netip.Prefix) steps {
	n := r.fam.addrBytes()
	mask := make([]byte, n)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	if p.Bits() < n*8 {
		loaded = append(loaded, &expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: uint32(n), Mask: mask, Xor: make([]byte, n)})
	}
	return append(loaded, equal(0, p.Masked().Addr().AsSlice()))
}

func equal(at int, v []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg(at), Data: v} }

// daddrIsLocal goes on if the packet is for an address of the node.
func (r rules) daddrIsLocal() steps {
	return steps{&expr.Fib{Register: reg(0), FlagDADDR: true, ResultADDRTYPE: true}, equal(0, host32(unix.RTN_LOCAL))}
}

// state goes on if conntrack says this of the packet.
func (r rules) state(bit uint32) steps { return ct(expr.CtKeySTATE, bit) }

// translated goes on if the connection's destination was translated, by whomever.
func (r rules) translated() steps {
	const dstNAT = 1 << 5 // IPS_DST_NAT
	return ct(expr.CtKeySTATUS, dstNAT)
}

func ct(key expr.CtKey, bit uint32) steps {
	return steps{&expr.Ct{Register: reg(0), Key: key}, and(bit), &expr.Cmp{Op: expr.CmpOpNeq, Register: reg(0), Data: host32(0)}}
}

func and(bits uint32) expr.Any {
	return &expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: host32(bits), Xor: host32(0)}
}

func (r rules) isMarked() steps {
	return steps{&expr.Meta{Key: expr.MetaKeyMARK, Register: reg(0)}, and(r.mark), equal(0, host32(r.mark))}
}

func (r rules) setMark() steps   { return r.writeMark(host32(r.mark)) }
func (r rules) clearMark() steps { return r.writeMark(host32(0)) }

func (r rules) writeMark(v []byte) steps {
	return steps{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg(0)},
		&expr.Bitwise{SourceRegister: reg(0), DestRegister: reg(0), Len: 4, Mask: host32(^r.mark), Xor: v},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg(0)},
	}
}

func random(at, below int) steps {
	return steps{&expr.Numgen{Register: reg(at), Modulus: uint32(below), Type: unix.NFT_NG_RANDOM}}
}

// listable is a lookup that nft can list. It aborts on rules that use what a lookup found as a part of a key or as a value, because it does
// not know how long that is (seen with nft 1.0.6); of a packet's mark it does. So what is found takes a turn through the mark, which then is
// again what it was. A lookup that finds nothing ends the rule before the mark is touched.
func listable(at int, lookup steps) steps {
	saved := reg(at + 1)
	return slices.Concat(steps{&expr.Meta{Key: expr.MetaKeyMARK, Register: saved}}, lookup, steps{
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg(at)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg(at)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: saved},
	})
}

// dnat translates the destination to the endpoint at a register.
func (r rules) dnat(endpoint int) steps {
	address, port := reg(endpoint), reg(endpoint+r.addrRegs())
	return steps{&expr.NAT{
		Type: expr.NATTypeDestNAT, Family: uint32(r.fam.protocol()),
		RegAddrMin: address, RegAddrMax: address, RegProtoMin: port, RegProtoMax: port,
	}}
}

// masquerade takes a random source port: two connections that begin at once then seldom want the same.
func masquerade() steps { return steps{&expr.Masq{FullyRandom: true}} }

func jump(chain string) steps { return steps{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }
func goTo(chain string) steps { return steps{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}} }

func end(verdict expr.VerdictKind) steps { return steps{&expr.Verdict{Kind: verdict}} }

func host32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func ofFamily(all []netip.Prefix, fam family) (out []netip.Prefix) {
	for _, p := range all {
		if familyOf(plan.FamilyOf(p.Addr())) == fam {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}
