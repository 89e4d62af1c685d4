// Package wire reads DNS queries and writes DNS answers as bytes (RFC 1035, RFC 6891), without allocating.
//
// It owns the limits of the format: label and name lengths, what is dropped, what is a format error, how an answer is cut to the size the
// asker can take. It never knows what a name stands for, and it never panics, whatever bytes it is given.
//
// Only the little that a server needs on every query is here; whoever reads whole foreign messages uses a full DNS library.
package wire

// Type is a resource record type.
type Type = uint16

// The record types that the server itself answers, counts or refuses.
const (
	TypeA     Type = 1
	TypeNS    Type = 2
	TypeCNAME Type = 5
	TypeSOA   Type = 6
	TypePTR   Type = 12
	TypeHINFO Type = 13
	TypeMX    Type = 15
	TypeTXT   Type = 16
	TypeAAAA  Type = 28
	TypeSRV   Type = 33
	TypeOPT   Type = 41
	TypeSVCB  Type = 64
	TypeHTTPS Type = 65
	TypeIXFR  Type = 251
	TypeAXFR  Type = 252
	TypeANY   Type = 255
)

// ClassIN is the Internet class; no other is served.
const ClassIN = 1

// Code is a response code; those above 15 need EDNS (RFC 6891 section 6.1.3).
type Code = uint16

// The response codes a server gives.
const (
	Success  Code = 0
	FormErr  Code = 1
	ServFail Code = 2
	NXDomain Code = 3
	NotImp   Code = 4
	Refused  Code = 5
	BadVers  Code = 16
)

// Sizes of the format, in bytes.
const (
	HeaderLen = 12
	MaxName   = 255
	MaxLabel  = 63

	// PlainUDP is what an asker without EDNS can take over UDP (RFC 1035 section 4.2.1).
	PlainUDP = 512

	// MaxMessage is the largest message there is: what TCP's length prefix can say.
	MaxMessage = 65535

	optLen = 11 // an OPT record without options
)

// Bits of the second header word.
const (
	FlagQR = 1 << 15 // this is a response
	FlagAA = 1 << 10 // the answer is authoritative
	FlagTC = 1 << 9  // the answer is cut
	FlagRD = 1 << 8  // recursion desired
	FlagRA = 1 << 7  // recursion available
	FlagAD = 1 << 5  // authentic data (RFC 4035)
	FlagCD = 1 << 4  // checking disabled (RFC 4035)

	opcodeShift = 11
	opcodeMask  = 15 << opcodeShift
)
