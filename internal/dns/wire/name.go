package wire

import (
	"errors"
	"fmt"
	"strings"
)

// Name is a domain name in wire form, in lower case, with the place of every label. It holds its bytes itself, so that reading one
// allocates nothing; the zero Name is the root.
type Name struct {
	buf    [MaxName]byte
	offs   [MaxName/2 + 1]uint8
	size   int // bytes in buf without the root label
	labels int
}

var errName = errors.New("malformed name")

// parse reads an uncompressed name at the start of b and gives the number of bytes it takes there. The name in a question can point
// nowhere, so a compression pointer is an error.
func (n *Name) parse(b []byte) (int, error) {
	n.labels, n.size = 0, 0
	i := 0
	for {
		if i >= len(b) {
			return 0, errName
		}
		l := int(b[i])
		if l == 0 {
			break
		}
		if l > MaxLabel || i+1+l >= len(b) || i+1+l >= MaxName {
			return 0, errName
		}
		n.offs[n.labels] = uint8(i)
		n.labels++
		i += 1 + l
	}
	for j, c := range b[:i] { // length bytes are at most 63 and so never taken for a letter
		n.buf[j] = lower(c)
	}
	n.buf[i] = 0
	n.size = i
	return i + 1, nil
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// Labels is the number of labels, without the root.
func (n *Name) Labels() int { return n.labels }

// Label gives the i-th label from the left. The bytes are the Name's own.
func (n *Name) Label(i int) []byte {
	o := int(n.offs[i])
	return n.buf[o+1 : o+1+int(n.buf[o])]
}

// From gives the name from its i-th label on, with the root label. The bytes are the Name's own.
func (n *Name) From(i int) []byte { return n.buf[n.Offset(i) : n.size+1] }

// Between gives labels i to j (without j), in wire form without a root label. The bytes are the Name's own.
func (n *Name) Between(i, j int) []byte { return n.buf[n.Offset(i):n.Offset(j)] }

// Offset is where the i-th label begins, in bytes from the start of the name; that of Labels() is the root's.
func (n *Name) Offset(i int) int {
	if i >= n.labels {
		return n.size
	}
	return int(n.offs[i])
}

// Wire is the whole name with the root label. The bytes are the Name's own.
func (n *Name) Wire() []byte { return n.buf[:n.size+1] }

// String shows the name with its final dot, unprintable bytes escaped.
func (n *Name) String() string {
	if n.labels == 0 {
		return "."
	}
	var b strings.Builder
	for i := range n.labels {
		for _, c := range n.Label(i) {
			switch {
			case c == '.' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < '!' || c > '~':
				fmt.Fprintf(&b, "\\%03d", c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('.')
	}
	return b.String()
}

// Set makes n the name that text writes, with or without a final dot.
func (n *Name) Set(text string) error {
	w, err := Pack(text)
	if err != nil {
		return err
	}
	return n.SetWire(w)
}

// SetWire makes n the name that w holds in wire form, with its root label.
func (n *Name) SetWire(w string) error {
	var b [MaxName]byte
	if size, err := n.parse(b[:copy(b[:], w)]); err != nil || size != len(w) {
		return errName
	}
	return nil
}

// Pack gives the wire form, in lower case and with the root label, of a name of plain labels (no escapes), with or without a final dot.
func Pack(text string) (string, error) {
	text = strings.TrimSuffix(text, ".")
	if text == "" {
		return "\x00", nil
	}
	b := make([]byte, 0, len(text)+2)
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > MaxLabel {
			return "", fmt.Errorf("name %q: a label has 1 to %d bytes, not %d", text, MaxLabel, len(label))
		}
		b = append(b, byte(len(label)))
		for i := range len(label) {
			b = append(b, lower(label[i]))
		}
	}
	if b = append(b, 0); len(b) > MaxName {
		return "", fmt.Errorf("name %q: longer than %d bytes", text, MaxName)
	}
	return string(b), nil
}

// Unpack shows a name in wire form as text with a final dot.
func Unpack(w string) string {
	var n Name
	if n.SetWire(w) != nil {
		return fmt.Sprintf("malformed name %q", w)
	}
	return n.String()
}
