package detect

import (
	"bytes"
	cryptotls "crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

func TestHTTP(t *testing.T) {
	for text, want := range map[string]string{
		"GET / HTTP/1.1\r\n":                  HTTP11,
		"GET / HTTP/1.0\r\nhost: a\r\n":       HTTP10,
		"\r\nGET / HTTP/1.1\r\n":              HTTP11,
		"OPTIONS * HTTP/1.1\n":                HTTP11,
		"CONNECT a.example:443 HTTP/1.1\r\n":  HTTP11,
		"VERSION-CONTROL / HTTP/1.1\r\n":      HTTP11,
		preface + "...":                       H2C,
		"GET /":                               "more",
		"GET / HTTP/1.1\r":                    "more",
		"G":                                   "more",
		"PRI * HTTP/2.0\r\n\r\n":              "more",
		"\r":                                  "more",
		"EHLO a.example\r\n":                  "",
		"PING\r\n":                            "",
		"*1\r\n$4\r\nPING\r\n":                "",
		"GET key\r\n":                         "",
		"get a:1 b\r\n":                       "",
		"SSH-2.0-x\r\n":                       "",
		"GET /\x00":                           "",
		"GET / HTTP/2.0\r\n":                  "",
		"GET / HTTP/1.1\rx":                   "",
		"\x00\x00\x00\x08\x04\xd2\x16\x2f":    "",
		strings.Repeat("A", 40):               "",
		"A " + strings.Repeat("a", 33<<10):    "",
		"GET  / HTTP/1.1\r\n":                 "",
		"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\nabc": "",
	} {
		got, done := httpOf([]byte(text))
		if !done {
			got = "more"
		}
		if got != want {
			t.Errorf("%.40q: %q, want %q", text, got, want)
		}
	}
}

// Whatever comes byte by byte is told as well as in one piece, and no byte more is read than was needed.
func TestByteByByte(t *testing.T) {
	for text, want := range map[string]string{"GET /a HTTP/1.1\r\n": HTTP11, preface: H2C, "EHLO x\r": ""} {
		a, err := Read(fakeConn{Reader: iotest.OneByteReader(strings.NewReader(text + "rest"))}, Question{TLS: true, HTTP: true})
		if string(a.Read) != text && want != "" || a.Protocol != want || err != nil || a.TLS {
			t.Errorf("%q: %+v, %v", text, a, err)
		}
	}
	a, err := Read(fakeConn{Reader: strings.NewReader("GET /unfinished")}, Question{HTTP: true})
	if a.Protocol != "" || string(a.Read) != "GET /unfinished" || err != nil {
		t.Errorf("an end in the middle: %+v, %v", a, err)
	}
	if _, err := Read(fakeConn{Reader: strings.NewReader("")}, Question{HTTP: true}); err != io.EOF {
		t.Errorf("an end at once: %v", err)
	}
}

func TestHello(t *testing.T) {
	a, b := net.Pipe()
	go func() {
		_ = cryptotls.Client(a, &cryptotls.Config{ServerName: "Web.Example", NextProtos: []string{"h2", "http/1.1"}}).Handshake()
	}()
	got, err := Read(fakeConn{Conn: b, Reader: iotest.OneByteReader(b)}, Question{TLS: true, HTTP: true})
	if err != nil || !got.TLS || got.Hello.ServerName != "web.example" || len(got.Hello.Protocols) != 2 || len(got.Read) < 100 {
		t.Errorf("%+v %v", got, err)
	}
	_, _ = a.Close(), b.Close()
}

// FuzzRead checks that nothing panics, that no byte is lost, and that how the bytes are cut into pieces makes no difference.
func FuzzRead(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"))
	f.Add([]byte(preface))
	f.Fuzz(func(t *testing.T, b []byte) {
		q := Question{TLS: true, HTTP: true}
		whole, _ := Read(fakeConn{Reader: bytes.NewReader(b)}, q)
		pieces, _ := Read(fakeConn{Reader: iotest.OneByteReader(bytes.NewReader(b))}, q)
		if !bytes.HasPrefix(b, whole.Read) || !bytes.HasPrefix(b, pieces.Read) {
			t.Errorf("read %q and %q of %q", whole.Read, pieces.Read, b)
		}
		if whole.Protocol != pieces.Protocol {
			t.Errorf("%q in one piece, %q in many", whole.Protocol, pieces.Protocol)
		}
	})
}

type fakeConn struct {
	net.Conn
	io.Reader
}

func (f fakeConn) Read(b []byte) (int, error) { return f.Reader.Read(b) }
