package tls

import (
	"bytes"
	cryptotls "crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clientHello is what crypto/tls sends first.
func clientHello(t testing.TB, sni string, alpn ...string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		_ = cryptotls.Client(a, &cryptotls.Config{ServerName: sni, NextProtos: alpn, InsecureSkipVerify: true}).Handshake()
		a.Close()
	}()
	head := make([]byte, recordHead)
	if _, err := io.ReadFull(b, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(b, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// inRecords is the same message in records of so many bytes.
func inRecords(hello []byte, size int) (out []byte) {
	for part := range slices.Chunk(hello[recordHead:], size) {
		out = append(out, 22, 3, 1, byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
	}
	return out
}

func TestReadClientHello(t *testing.T) {
	for _, tt := range []struct {
		sni  string
		alpn []string
		want ClientHello
	}{
		{"www.Example.com", []string{"h2", "http/1.1"}, ClientHello{"www.example.com", []string{"h2", "http/1.1"}}},
		{"outbound_.8081_.v1_.demo.default.svc.cluster.local", []string{"istio-peer-exchange", "istio"},
			ClientHello{"outbound_.8081_.v1_.demo.default.svc.cluster.local", []string{"istio-peer-exchange", "istio"}}},
		{"10.0.0.1", nil, ClientHello{}}, // an address is no name (RFC 6066)
	} {
		hello := clientHello(t, tt.sni, tt.alpn...)
		for _, bytesOf := range [][]byte{hello, inRecords(hello, 1), inRecords(hello, 100)} {
			for i := range bytesOf {
				if _, n, err := ReadClientHello(bytesOf[:i]); n != 0 || err != nil {
					t.Fatalf("%s: %d of %d bytes: %d, %v", tt.sni, i, len(bytesOf), n, err)
				}
			}
			got, n, err := ReadClientHello(append(slices.Clip(bytesOf), "more"...))
			if err != nil || n != len(bytesOf) {
				t.Errorf("%s: %d of %d, %v", tt.sni, n, len(bytesOf), err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		}
	}
}

func TestReadClientHelloRefuses(t *testing.T) {
	good := clientHello(t, "www.example.com", "h2")
	change := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	twice := bytes.Replace(good, []byte("www.example.com"), []byte("www.exa\x00ple.com"), 1)
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), ErrNotTLS},
		{"an alert", change(0, 21), ErrNotTLS},
		{"SSL 2", []byte{0x80, 0x2e, 1, 0, 2}, ErrNotTLS},
		{"another message", change(5, 2), ErrClientHello},
		{"a record without bytes", []byte{22, 3, 1, 0, 0}, ErrClientHello},
		{"a record too long", []byte{22, 3, 1, 0xff, 0xff}, ErrClientHello},
		{"a message too long", []byte{22, 3, 1, 0, 4, 1, 1, 0, 0}, ErrClientHello},
		{"a message shorter than its record", change(8, good[8]-1), ErrClientHello},
		{"a session too long", change(5+4+34, 255), ErrClientHello},
		{"NUL in the name", twice, ErrClientHello},
	} {
		if got, n, err := ReadClientHello(tt.b); !errors.Is(err, tt.want) || n != 0 || got.ServerName != "" {
			t.Errorf("%s: %+v, %d, %v", tt.name, got, n, err)
		}
	}
}

// What crypto/tls reads as a ClientHello we read as the same one, and it does not matter in which pieces the bytes come.
func FuzzClientHello(f *testing.F) {
	hello := clientHello(f, "www.example.com", "h2", "http/1.1")
	f.Add(hello)
	f.Add(inRecords(hello, 70))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, n, err := ReadClientHello(b)
		if n > len(b) || n > 0 && err != nil {
			t.Fatal(n, err)
		}
		if n > 0 {
			if _, again, err := ReadClientHello(b[:n]); again != n || err != nil {
				t.Fatal("not what it says it is", again, err)
			}
			if _, again, _ := ReadClientHello(b[:n-1]); again != 0 {
				t.Fatal("more than it needs")
			}
		}
		var theirs *cryptotls.ClientHelloInfo
		_ = cryptotls.Server(reading{bytes.NewReader(b)}, &cryptotls.Config{GetConfigForClient: func(h *cryptotls.ClientHelloInfo) (*cryptotls.Config, error) {
			theirs = h
			return nil, errors.New("enough")
		}}).Handshake()
		if theirs == nil || err != nil {
			return // it checks more
		}
		if n == 0 || !cmp.Equal(theirs.SupportedProtos, got.Protocols) || len(theirs.ServerName) != len(got.ServerName) {
			t.Fatalf("%+v, %d; crypto/tls: %q, %q", got, n, theirs.ServerName, theirs.SupportedProtos)
		}
	})
}

// reading is a connection that only gives bytes.
type reading struct{ io.Reader }

func (reading) Write(b []byte) (int, error)      { return len(b), nil }
func (reading) Close() error                     { return nil }
func (reading) LocalAddr() net.Addr              { return nil }
func (reading) RemoteAddr() net.Addr             { return nil }
func (reading) SetDeadline(time.Time) error      { return nil }
func (reading) SetReadDeadline(time.Time) error  { return nil }
func (reading) SetWriteDeadline(time.Time) error { return nil }
