package http2

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"
)

// TestStaticTable compares the table with hpack's.
func TestStaticTable(t *testing.T) {
	dec := hpack.NewDecoder(0, nil)
	for i := 1; i <= staticLen; i++ {
		f, err := dec.DecodeFull([]byte{0x80 | byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		index, same := staticIndex(f[0].Name, f[0].Value)
		if index != uint64(i) || !same {
			t.Errorf("%v is %d %v, want %d", f[0], index, same, i)
		}
		if index, same := staticIndex(f[0].Name, "another"); index == 0 || same {
			t.Errorf("%s: another is %d %v", f[0].Name, index, same)
		}
	}
}

type field = [2]string

// encode encodes blocks of fields, and gives what hpack makes of them.
func encode(t testing.TB, e *encoder, dec *hpack.Decoder, block []field) (bytes int) {
	t.Helper()
	buf := e.begin(nil)
	for _, f := range block {
		// As the transport does: the strings will soon be others.
		name, value := []byte(f[0]), []byte(f[1])
		buf = e.field(buf, unsafe.String(unsafe.SliceData(name), len(name)), unsafe.String(unsafe.SliceData(value), len(value)))
		clear(name)
		clear(value)
	}
	got, err := dec.DecodeFull(buf)
	if err != nil {
		t.Fatalf("%v: %v", block, err)
	}
	var fields []field
	for _, f := range got {
		if index, same := staticIndex(f.Name, f.Value); f.Sensitive != sensitive(index, f.Value) && !same {
			t.Errorf("%v", f)
		}
		fields = append(fields, field{f.Name, f.Value})
	}
	if d := cmp.Diff(block, fields); d != "" {
		t.Fatal(d)
	}
	return len(buf)
}

// What repeats becomes a byte, what never does pushes nothing out, and the decoder is in step when the table wraps and shrinks.
func TestEncoder(t *testing.T) {
	e, dec := newEncoder(), hpack.NewDecoder(4096, nil)
	block := func(i int) []field {
		return []field{
			{":method", "GET"}, {":path", fmt.Sprint("/", i)}, {":authority", "www.example.org"}, {"user-agent", "a browser of some kind"},
			{"x-request-id", fmt.Sprint("id-", i)}, {"authorization", "Bearer of bad news"}, {"x-empty", ""},
		}
	}
	for i := range 3 {
		encode(t, e, dec, block(i))
	}
	first := encode(t, e, dec, block(1000))
	for i := range 1000 {
		if n := encode(t, e, dec, block(5000+i)); n > first && i%100 > 3 { // the table was emptied at 500 and 700
			t.Fatalf("block %d takes %d bytes, the first %d", i, n, first)
		}
		if i == 500 {
			e.resize(200)
			e.resize(4096)
		}
		if i == 700 {
			e.resize(0)
			encode(t, e, dec, block(1))
			e.resize(4096)
		}
	}
	for i := range 1000 { // more than there is room for
		encode(t, e, dec, []field{{fmt.Sprint("x-", i), strings.Repeat("v", i%300)}, {"content-type", fmt.Sprint(i % 3)}})
	}
	buf := make([]byte, 0, 1024)
	b := block(7)
	encode(t, e, dec, b)
	encode(t, e, dec, b)
	if n := testing.AllocsPerRun(100, func() {
		for _, f := range b {
			buf = e.field(buf, f[0], f[1])
		}
		buf = buf[:0]
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzHeaders has fields that a fuzzer makes up go through our encoder and hpack's decoder; and bytes that it makes up through our decoder,
// which must judge them whatever they are.
func FuzzHeaders(f *testing.F) {
	f.Add([]byte(":path\n/\nx-a\nb\nx-a\nb\n"), uint16(100))
	f.Add([]byte("\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		e, dec := newEncoder(), hpack.NewDecoder(4096, nil)
		words := strings.Split(string(data), "\n")
		var block []field
		for i := 0; i+1 < len(words); i += 2 {
			block = append(block, field{words[i], words[i+1]})
		}
		if len(block) > 0 {
			encode(t, e, dec, block)
			e.resize(uint32(size))
			encode(t, e, dec, block)
			encode(t, e, dec, block)
		}
		d := newDecoder(2000)
		var s Stream
		for range 2 {
			s.Reset()
			if d.readRequest(data, &s.Request) == nil && d.wrong == "" && !d.tooLarge() {
				checkRequest(t, &s)
			}
			s.Reset()
			d.readResponse(data, &s.Response)
			d.readTrailers(data, &s.Trailers)
		}
	})
}

// checkRequest fails if a request holds what could mean something else to whom it is passed on.
func checkRequest(t testing.TB, s *Stream) {
	r := &s.Request
	for _, v := range []string{r.Method, r.Scheme, r.Authority, r.Path, r.Protocol} {
		if strings.ContainsAny(v, "\r\n\x00 \t") {
			t.Fatalf("%q", v)
		}
	}
	if r.Method == "" || r.Path == "" && r.Method != "CONNECT" {
		t.Fatalf("%+v", r)
	}
	for _, f := range r.Fields.All() {
		if f.Name == "" || strings.ContainsAny(f.Name, ":\r\n\x00 ABCDEFGHIJKLMNOPQRSTUVWXYZ") || strings.ContainsAny(f.Value, "\r\n\x00") ||
			ofConnection(f.Name) || f.Name == "host" || f.Name == "content-length" {
			t.Fatalf("%q", f)
		}
	}
}
