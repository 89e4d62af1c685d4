package nftables

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// schemaVersion is part of the tables' name. It changes when a set's type or the meaning of an element does; tables of other versions are
// removed in the transaction that brings this one.
const schemaVersion = 1

const tablePrefix = "weft-v"

var tableName = tablePrefix + strconv.Itoa(schemaVersion)

// isOtherSchema tells whether a table is ours, of another version.
func isOtherSchema(name string) bool {
	version, ok := strings.CutPrefix(name, tablePrefix)
	_, err := strconv.ParseUint(version, 10, 32)
	return ok && err == nil && name != tableName
}

// family is an address family's table, as an index.
type family uint8

const (
	ip4 family = iota
	ip6
	families
)

func familyOf(f plan.Family) family {
	if f == plan.IPv4 {
		return ip4
	}
	return ip6
}

// protocol is the family's number in netlink messages.
func (f family) protocol() uint8 { return [...]uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}[f] }

// addrBytes is the length of an address.
func (f family) addrBytes() int { return [...]int{4, 16}[f] }

func (f family) String() string { return [...]string{"ip", "ip6"}[f] }

// field is one part of a concatenated key or value, padded to registers of four bytes.
type field uint8

const (
	addr   field = iota // an address of the table's family
	proto               // transport protocol
	port                // transport port
	slot                // number of an endpoint among those of its frontend, in the byte order of the host
	choice              // name of an endpoint among those of its frontend, see expansion.choice
)

func (f field) bytes(fam family) int {
	return [...]int{addr: fam.addrBytes(), proto: 1, port: 2, slot: 4, choice: 4}[f]
}

// nftType is nft's own number for the type, so that `nft list` shows the elements as people expect.
func (f field) nftType(fam family) uint32 {
	const ipv4Addr, ipv6Addr, inetProto, inetService, mark = 7, 8, 12, 13, 19
	return [...]uint32{addr: [...]uint32{ipv4Addr, ipv6Addr}[fam], proto: inetProto, port: inetService, slot: mark, choice: mark}[f]
}

func padded(fields []field, fam family) (n int) {
	for _, f := range fields {
		n += (f.bytes(fam) + 3) &^ 3
	}
	return n
}

func nftType(fields []field, fam family) (magic uint32) {
	for _, f := range fields {
		magic = magic<<6 | f.nftType(fam)
	}
	return magic
}

// setID names a set or map of the tables.
type setID uint8

const (
	hairpin        setID = iota // endpoint address, twice: who may meet itself
	vips                        // ClusterIPs; what no port of them takes is rejected
	choices                     // frontend, choice → endpoint; only with affinity, as the next two
	picks                       // frontend, slot → choice
	picksLocal                  //
	endpoints                   // frontend, slot → endpoint
	endpointsLocal              //
	sources                     // frontend, range of client addresses that may use it
	ranged                      // frontends that have ranges
	refused                     // frontends that answer with a rejection, if nothing translated the packet
	services                    // frontend → balancer chain, or drop
	servicesLocal               // the same for packets from outside, where those are treated differently
	affinity                    // client, frontend → choice; written by packets
	sets
)

type valueKind uint8

const (
	noValue valueKind = iota
	endpointValue
	choiceValue
	verdictValue
)

type setDef struct {
	name  string
	key   []field
	value valueKind
	flags uint32
	size  uint32
}

// Flags of sets that package unix does not have.
const (
	setConcat       = 0x80 // NFT_SET_CONCAT
	elemKeyEnd      = 10   // NFTA_SET_ELEM_KEY_END
	descConcat      = 2    // NFTA_SET_DESC_CONCAT
	fieldLen        = 1    // NFTA_SET_FIELD_LEN
	dynsetDelete    = 2    // NFT_DYNSET_OP_DELETE
	verdictDataType = 0xffffff00
)

// affinityClients bounds the memory that clients can make the kernel spend. Clients beyond it are carried without affinity.
const affinityClients = 1 << 18

var (
	frontendKey = []field{addr, proto, port}
	valueFields = [...][]field{noValue: nil, endpointValue: {addr, port}, choiceValue: {choice}, verdictValue: nil}
)

var schema = [sets]setDef{
	hairpin:        {name: "hairpin", key: []field{addr, addr}},
	vips:           {name: "vips", key: []field{addr}},
	choices:        {name: "choices", key: []field{addr, proto, port, choice}, value: endpointValue, flags: unix.NFT_SET_MAP},
	picks:          {name: "picks", key: []field{addr, proto, port, slot}, value: choiceValue, flags: unix.NFT_SET_MAP},
	picksLocal:     {name: "picks-local", key: []field{addr, proto, port, slot}, value: choiceValue, flags: unix.NFT_SET_MAP},
	endpoints:      {name: "endpoints", key: []field{addr, proto, port, slot}, value: endpointValue, flags: unix.NFT_SET_MAP},
	endpointsLocal: {name: "endpoints-local", key: []field{addr, proto, port, slot}, value: endpointValue, flags: unix.NFT_SET_MAP},
	sources:        {name: "sources", key: []field{addr, proto, port, addr}, flags: unix.NFT_SET_INTERVAL | setConcat},
	ranged:         {name: "ranged", key: frontendKey},
	refused:        {name: "refused", key: frontendKey},
	services:       {name: "services", key: frontendKey, value: verdictValue, flags: unix.NFT_SET_MAP},
	servicesLocal:  {name: "services-local", key: frontendKey, value: verdictValue, flags: unix.NFT_SET_MAP},
	affinity: {name: "affinity", key: []field{addr, addr, proto, port}, value: choiceValue,
		flags: unix.NFT_SET_MAP | unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL, size: affinityClients},
}

func (s setID) def() *setDef              { return &schema[s] }
func (s setID) String() string            { return schema[s].name }
func (s setID) keyBytes(fam family) int   { return padded(schema[s].key, fam) }
func (s setID) valueBytes(fam family) int { return padded(valueFields[schema[s].value], fam) }
func (s setID) word() string {
	if schema[s].flags&unix.NFT_SET_MAP != 0 {
		return "map"
	}
	return "set"
}

// create appends the message that makes the set.
func (s setID) create(w *wire, fam family) {
	d := s.def()
	m := w.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, fam.protocol())
	w.string(unix.NFTA_SET_TABLE, tableName)
	w.string(unix.NFTA_SET_NAME, d.name)
	if d.flags != 0 {
		w.u32(unix.NFTA_SET_FLAGS, d.flags)
	}
	w.u32(unix.NFTA_SET_KEY_TYPE, nftType(d.key, fam))
	w.u32(unix.NFTA_SET_KEY_LEN, uint32(padded(d.key, fam)))
	if d.value == verdictValue {
		w.u32(unix.NFTA_SET_DATA_TYPE, verdictDataType)
	} else if d.value != noValue {
		w.u32(unix.NFTA_SET_DATA_TYPE, nftType(valueFields[d.value], fam))
		w.u32(unix.NFTA_SET_DATA_LEN, uint32(s.valueBytes(fam)))
	}
	if d.size != 0 || d.flags&setConcat != 0 {
		desc := w.nest(unix.NFTA_SET_DESC)
		if d.size != 0 {
			w.u32(unix.NFTA_SET_DESC_SIZE, d.size)
		}
		if d.flags&setConcat != 0 {
			concat := w.nest(descConcat)
			for _, f := range d.key {
				elem := w.nest(unix.NFTA_LIST_ELEM)
				w.u32(fieldLen, uint32(f.bytes(fam)))
				w.close(elem)
			}
			w.close(concat)
		}
		w.close(desc)
	}
	w.u32(unix.NFTA_SET_ID, uint32(s)+1)
	w.end(m)
}

// matches tells whether a set as the kernel describes it is the one that create makes.
func (s setID) matches(msg []byte, fam family) bool {
	d := s.def()
	want := map[uint16]uint32{
		unix.NFTA_SET_FLAGS: d.flags, unix.NFTA_SET_KEY_TYPE: nftType(d.key, fam), unix.NFTA_SET_KEY_LEN: uint32(padded(d.key, fam)),
	}
	if d.value == verdictValue {
		want[unix.NFTA_SET_DATA_TYPE] = verdictDataType
	} else if d.value != noValue {
		want[unix.NFTA_SET_DATA_TYPE], want[unix.NFTA_SET_DATA_LEN] = nftType(valueFields[d.value], fam), uint32(s.valueBytes(fam))
	}
	for kind, v := range want {
		if number(child(msg, kind)) != v {
			return false
		}
	}
	return number(child(child(msg, unix.NFTA_SET_DESC), unix.NFTA_SET_DESC_SIZE)) == d.size
}

// balancer is a chain that picks an endpoint. One exists for every combination that some frontend needs, made when first needed and kept.
type balancer struct {
	family    family
	nodePort  bool // the frontend's address is any of the node's: key zero, and always masqueraded unless local
	local     bool // picks among the endpoints of this node, for packets from outside whose source address is kept
	endpoints int  // how many to pick from
	affinity  int  // how many seconds a client keeps its endpoint, 0: not at all
}

func (b balancer) String() string {
	name := "lb-"
	if b.nodePort {
		name = "nodeport-"
	}
	name += strconv.Itoa(b.endpoints)
	if b.local {
		name += "-local"
	}
	if b.affinity != 0 {
		name += fmt.Sprintf("-affinity-%ds", b.affinity)
	}
	return name
}

// parseBalancer reads a chain's name back.
func parseBalancer(fam family, name string) (b balancer, ok bool) {
	b.family = fam
	rest, ok := strings.CutPrefix(name, "lb-")
	if !ok {
		rest, b.nodePort = strings.CutPrefix(name, "nodeport-")
		if !b.nodePort {
			return b, false
		}
	}
	if rest, aff, found := strings.Cut(rest, "-affinity-"); found {
		b.affinity, _ = strconv.Atoi(strings.TrimSuffix(aff, "s"))
		b.endpoints, b.local = parseCount(rest)
	} else {
		b.endpoints, b.local = parseCount(rest)
	}
	return b, b.endpoints > 0 && b.String() == name
}

func parseCount(s string) (n int, local bool) {
	s, local = strings.CutSuffix(s, "-local")
	n, _ = strconv.Atoi(s)
	return n, local
}
