package http2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// TestHuffman has hpack encode, and us decode; and what is no code is none for both.
func TestHuffman(t *testing.T) {
	var every []byte
	for c := range 256 {
		every = append(every, byte(c))
	}
	texts := []string{"", "a", string(every), "www.example.com", "Mozilla/5.0 (X11; Linux x86_64) ~!@#$%^&*()[]{}<>?", strings.Repeat("\x00\xff", 50)}
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		texts = append(texts, string(b))
	}
	for _, text := range texts {
		coded := hpack.AppendHuffmanString(nil, text)
		if len(text) > huffmanRoom(len(coded)) {
			t.Errorf("%q: more than %d bytes", text, huffmanRoom(len(coded)))
		}
		if got, ok := appendHuffman(nil, coded); !ok || string(got) != text {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
	for range 20000 {
		b := make([]byte, r.IntN(8))
		for i := range b {
			if b[i] = byte(r.Uint32()); r.IntN(3) == 0 {
				b[i] = 0xff
			}
		}
		want, err := hpack.HuffmanDecodeToString(b)
		if got, ok := appendHuffman(nil, b); ok != (err == nil) || ok && string(got) != want {
			t.Fatalf("%x: %q, %v; hpack: %q, %v", b, got, ok, want, err)
		}
	}
}

// both reads blocks with our reader and with hpack's, and fails if they differ.
type both struct {
	t     testing.TB
	ours  blocks
	into  message.Fields
	got   []field
	sound []bool
	hpack *hpack.Decoder
}

func newBoth(t testing.TB) *both {
	b := &both{t: t, hpack: hpack.NewDecoder(tableBytes, nil)}
	b.ours = blocks{table: table{max: tableBytes}, allowed: tableBytes, emit: func(name, value string, sound bool) bool {
		b.got, b.sound = append(b.got, field{name, value}), append(b.sound, sound)
		return validName(name) && validValue(value)
	}}
	return b
}

// read reads one block, and tells whether there may be others after it. With quiet we have to keep our table in step without anybody looking.
func (b *both) read(block []byte, quiet bool) bool {
	b.t.Helper()
	b.into.Reset()
	b.got, b.sound = nil, nil
	var want []field
	b.hpack.SetEmitFunc(func(f hpack.HeaderField) { want = append(want, field{f.Name, f.Value}) })
	b.hpack.SetEmitEnabled(!quiet)
	_, theirs := b.hpack.Write(block)
	if theirs == nil {
		theirs = b.hpack.Close()
	}
	b.ours.quiet = quiet
	err := b.ours.read(block, &b.into)
	// hpack takes an update of the size anywhere if the table is empty, and only one if it is not.
	if err == errLateResize || theirs != nil && strings.Contains(theirs.Error(), "MUST occur at the beginning") {
		return false
	}
	if (err == nil) != (theirs == nil) {
		b.t.Fatalf("%x: %v; hpack: %v", block, err, theirs)
	}
	if d := cmp.Diff(want, b.got); d != "" && err == nil {
		b.t.Fatalf("%x: %s", block, d)
	}
	for i, f := range b.got {
		if b.sound[i] && f[0][0] != ':' && !(validName(f[0]) && validValue(f[1])) {
			b.t.Fatalf("%q was taken to be sound", f)
		}
	}
	return err == nil
}

// What hpack's encoder makes of fields that come and go, in tables of many sizes, is what we read.
func TestBlocks(t *testing.T) {
	b := newBoth(t)
	var out bytes.Buffer
	enc := hpack.NewEncoder(&out)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 5000 {
		out.Reset()
		if r.IntN(50) == 0 {
			enc.SetMaxDynamicTableSize(uint32(r.IntN(tableBytes + 1)))
		}
		for range r.IntN(12) {
			f := hpack.HeaderField{Name: fmt.Sprint("x-", r.IntN(40)), Value: strings.Repeat(fmt.Sprint(r.IntN(100)), r.IntN(20)), Sensitive: r.IntN(10) == 0}
			switch r.IntN(8) {
			case 0:
				f.Name = staticFields[1+r.IntN(staticLen)].name
			case 1:
				s := staticFields[1+r.IntN(staticLen)]
				f.Name, f.Value = s.name, s.value
			case 2:
				f.Value = strings.Repeat("v", r.IntN(5000))
			case 3:
				f.Name, f.Value = "Not a name", "\x00"
			}
			_ = enc.WriteField(f)
		}
		if !b.read(out.Bytes(), i%7 == 3) {
			t.Fatal("not a block")
		}
		if n := cap(b.ours.table.mem); n > 4*tableBytes {
			t.Fatalf("%d bytes for a table of %d", n, tableBytes)
		}
	}
}

// A field that comes into the table again and again, as all of some servers do, costs no memory.
func TestBlocksAllocate(t *testing.T) {
	var out bytes.Buffer
	enc := hpack.NewEncoder(&out)
	for i := range 20 {
		_ = enc.WriteField(hpack.HeaderField{Name: fmt.Sprint("x-", i), Value: fmt.Sprint("a value of its own ", i)})
	}
	d := newDecoder(60 << 10)
	var s Stream
	if n := testing.AllocsPerRun(100, func() {
		s.Trailers.Reset()
		if err := d.readTrailers(out.Bytes(), &s.Trailers); err != nil || s.Trailers.Len() != 20 {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzBlocks has our reader and hpack's read what a fuzzer makes up: pieces of it as blocks of one connection.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte("\x20\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x06\x82\x86\x84\xbe\x58\x08no-cache"), uint8(0))
	f.Add([]byte("\x08\x40\x01a\x01b\x3f\x00\x20\xbe\x04\x3f\xe1\x1f\xbe"), uint8(1))
	f.Add([]byte("\x10\x40\x82\x1c\x67\x83\xff\xff\xff\x10\x0a\x01A\xc0\xbf\x7f\x80\x00"), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, quiet uint8) {
		b := newBoth(t)
		for i := 0; len(data) > 0; i++ {
			n := min(int(data[0]), len(data)-1)
			if !b.read(data[1:1+n], quiet>>(i%8)&1 == 1) {
				return
			}
			data = data[1+n:]
		}
	})
}

// BenchmarkBlocks reads the head of a response whose fields come into the table each time, as nginx's do.
func BenchmarkBlocks(b *testing.B) {
	block := []byte{0x88}
	for _, f := range []field{
		{"server", "nginx/1.22.1"}, {"date", "Thu, 01 Jan 1970 00:00:00 GMT"}, {"content-type", "text/plain"}, {"content-length", "100"},
		{"last-modified", "Thu, 01 Jan 1970 00:00:00 GMT"}, {"etag", `"665f1a2b-64"`}, {"accept-ranges", "bytes"},
	} {
		index, _ := staticIndex(f[0], f[1])
		block = appendInt(block, 0x40, 6, index)
		coded := hpack.AppendHuffmanString(nil, f[1])
		block = append(appendInt(block, 0x80, 7, uint64(len(coded))), coded...)
	}
	b.Run("ours", func(b *testing.B) {
		d := newDecoder(60 << 10)
		var r message.Response
		b.ReportAllocs()
		for b.Loop() {
			r.Reset()
			if err := d.readResponse(block, &r); err != nil || d.wrong != "" {
				b.Fatal(err, d.wrong)
			}
		}
	})
	b.Run("hpack", func(b *testing.B) {
		var r message.Response
		d := hpack.NewDecoder(tableBytes, func(f hpack.HeaderField) { r.Fields.Add(f.Name, f.Value) })
		b.ReportAllocs()
		for b.Loop() {
			r.Reset()
			if _, err := d.Write(block); err != nil {
				b.Fatal(err)
			}
		}
	})
}
