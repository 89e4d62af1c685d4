package announce

import "golang.org/x/net/bpf"

const packetOtherHost = 3 // PACKET_OTHERHOST of linux/if_packet.h

// snapBytes is how much of a frame is looked at; the largest solicitation fits by far.
const snapBytes = 2048

// filterOf makes a socket filter that lets frames through which have these values, and which are not another station's or another VLAN's.
func filterOf(checks ...check) ([]bpf.RawInstruction, error) {
	checks = append([]check{
		{load: bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}, value: 0},
	}, checks...)
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetOtherHost, SkipTrue: uint8(2*len(checks) + 1)},
	}
	for i, c := range checks {
		program = append(program, c.load, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: c.value, SkipTrue: uint8(2*(len(checks)-i-1) + 1)})
	}
	program = append(program, bpf.RetConstant{Val: snapBytes}, bpf.RetConstant{Val: 0})
	return bpf.Assemble(program)
}

type check struct {
	load  bpf.Instruction
	value uint32
}

func at(offset, size int, value uint32) check {
	return check{bpf.LoadAbsolute{Off: uint32(offset), Size: size}, value}
}

func arpFilter() ([]bpf.RawInstruction, error) {
	return filterOf(at(12, 2, etherARP), at(etherBytes+6, 2, arpRequest))
}

func solicitationFilter() ([]bpf.RawInstruction, error) {
	return filterOf(at(12, 2, etherIPv6), at(etherBytes+6, 1, protoICMPv6), at(etherBytes+ipv6Bytes, 1, icmpSolicitation))
}
