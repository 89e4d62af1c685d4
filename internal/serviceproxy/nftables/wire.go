package nftables

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// wire is a growing buffer of netlink messages. Appending keeps the memory of what was there before a reset, so that a backend that sends
// small changes all day allocates for the first of them only.
type wire struct {
	b   []byte
	seq uint32 // of the last message begun
}

func (w *wire) reset() { w.b = w.b[:0] }

// message begins a message of the nf_tables subsystem and gives its offset for end.
func (w *wire) message(kind uint16, flags uint16, family uint8) int {
	return w.raw(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags, family, 0)
}

func (w *wire) raw(kind, flags uint16, family uint8, resource uint16) int {
	at := len(w.b)
	w.seq++
	w.b = binary.NativeEndian.AppendUint32(w.b, 0) // length, set by end
	w.b = binary.NativeEndian.AppendUint16(w.b, kind)
	w.b = binary.NativeEndian.AppendUint16(w.b, flags|unix.NLM_F_REQUEST)
	w.b = binary.NativeEndian.AppendUint32(w.b, w.seq)
	w.b = binary.NativeEndian.AppendUint32(w.b, 0) // port: the socket's
	w.b = append(w.b, family, unix.NFNETLINK_V0)
	w.b = binary.BigEndian.AppendUint16(w.b, resource)
	return at
}

// end closes the message that began at an offset.
func (w *wire) end(at int) { binary.NativeEndian.PutUint32(w.b[at:], uint32(len(w.b)-at)) }

func (w *wire) batchBegin() {
	w.end(w.raw(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
}

func (w *wire) batchEnd() {
	w.end(w.raw(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
}

// nest begins an attribute that holds attributes and gives its offset for close.
func (w *wire) nest(kind uint16) int {
	at := len(w.b)
	w.header(kind|unix.NLA_F_NESTED, 0)
	return at
}

func (w *wire) close(at int) { binary.NativeEndian.PutUint16(w.b[at:], uint16(len(w.b)-at)) }

func (w *wire) bytes(kind uint16, v []byte) {
	w.header(kind, len(v))
	w.b = append(w.b, v...)
	w.pad(len(v))
}

func (w *wire) string(kind uint16, v string) {
	w.header(kind, len(v)+1)
	w.b = append(w.b, v...)
	w.b = append(w.b, 0)
	w.pad(len(v) + 1)
}

func (w *wire) u32(kind uint16, v uint32) {
	w.header(kind, 4)
	w.b = binary.BigEndian.AppendUint32(w.b, v)
}

func (w *wire) header(kind uint16, n int) {
	w.b = binary.NativeEndian.AppendUint16(w.b, uint16(unix.NLA_HDRLEN+n))
	w.b = binary.NativeEndian.AppendUint16(w.b, kind)
}

func (w *wire) pad(n int) {
	for ; n%unix.NLA_ALIGNTO != 0; n++ {
		w.b = append(w.b, 0)
	}
}

// attribute is one attribute as the kernel sent it.
type attribute struct {
	kind uint16 // without flags
	data []byte
}

// each calls f for every attribute in b and tells whether b was well formed.
func each(b []byte, f func(attribute)) bool {
	for len(b) >= unix.NLA_HDRLEN {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.NLA_HDRLEN || n > len(b) {
			return false
		}
		f(attribute{binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER), b[unix.NLA_HDRLEN:n]})
		b = b[min(len(b), (n+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return len(b) == 0
}

// child gives the data of the first attribute of a kind, nil if there is none.
func child(b []byte, kind uint16) (out []byte) {
	each(b, func(a attribute) {
		if a.kind == kind && out == nil {
			out = a.data
		}
	})
	return out
}

func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}
