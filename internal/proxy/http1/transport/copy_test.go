package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/socket"
)

// Over TLS the bytes go through, whatever their number.
func TestTLS(t *testing.T) {
	own := httptest.NewTLSServer(nil) // for its certificate
	defer own.Close()
	for i, size := range []int{0, 100, pageBytes - 100, pageBytes, pageBytes + 1, 3*pageBytes + 7, 1 << 20} {
		for _, length := range []int64{int64(size), message.Unknown} {
			ours, theirs := pair(t, "tcp")
			if i%2 == 0 || size > pageBytes { // as the proxy has it
				ours, theirs = socket.Direct(ours), socket.Direct(theirs)
			}
			s := serve(t, tls.Server(theirs, &tls.Config{Certificates: own.TLS.Certificates}), Options{Scheme: "https"}, func(x message.ServerStream) {
				r := message.Response{Status: 200}
				if x.Request().Scheme != "https" {
					r.Status = 500
				}
				_ = x.WriteHead(&r, x.RequestLength())
				_, _, _ = Copy(x, x, 0)
				_ = x.Finish(nil)
			})
			c := NewClient(tls.Client(ours, &tls.Config{InsecureSkipVerify: true}), Options{})
			for range 3 {
				body := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
				req := message.Request{Method: "POST", Authority: "h", Path: "/"}
				x, err := c.Start(&req, length)
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					for rest := body; len(rest) > 0; {
						n := min(len(rest), 5000)
						if _, err := x.Write(rest[:n]); err != nil {
							t.Error(err)
							return
						}
						rest = rest[n:]
					}
					if err := x.Finish(nil); err != nil {
						t.Error(err)
					}
				})
				if length == message.NoBody {
					wg.Wait() // ReadHead sends it
				}
				var r message.Response
				if err := x.ReadHead(&r); err != nil || r.Status != 200 {
					t.Fatal(r.Status, err)
				}
				out, err := io.ReadAll(readerOf(x))
				wg.Wait()
				x.Close(message.Done)
				if !bytes.Equal(out, body) || err != nil {
					t.Fatalf("%d bytes of %d, %v", len(out), size, err)
				}
				if !c.Reusable() {
					t.Fatal("the connection is not reusable")
				}
			}
			s.Drain()
			if err := s.wait(t); err != nil {
				t.Error(err)
			}
			_ = c.Close()
		}
	}
}

// An answer that came in one record is there as a whole once its head was read: it is not passed on in two.
func TestRecordIsReadWhole(t *testing.T) {
	own := httptest.NewTLSServer(nil) // for its certificate
	defer own.Close()
	ours, theirs := pair(t, "tcp")
	server := tls.Server(theirs, &tls.Config{Certificates: own.TLS.Certificates})
	const size = firstBytes + 400 // crypto/tls begins with records of one packet
	go func() {
		var b [1000]byte
		if _, err := server.Read(b[:]); err != nil {
			t.Error(err)
		}
		_, _ = fmt.Fprintf(server, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", size, bytes.Repeat([]byte("x"), size))
	}()
	c := NewClient(tls.Client(socket.Direct(ours), &tls.Config{InsecureSkipVerify: true}), Options{})
	defer c.Close()
	x, err := c.Start(&message.Request{Method: "GET", Authority: "h", Path: "/"}, message.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	var r message.Response
	if err := x.ReadHead(&r); err != nil {
		t.Fatal(err)
	}
	if in := &x.(*clientStream).in; in.n-in.r != size {
		t.Errorf("%d bytes of the body are here, of %d", in.n-in.r, size)
	}
	x.Close(message.Refused)
}

// Which side failed is told, whether bytes go through us or past us.
func TestCopyFailure(t *testing.T) {
	for _, size := range []int64{1000, 10 << 20} {
		t.Run("source", func(t *testing.T) {
			readErr, writeErr := failing(t, size, patience, func(_, backend net.Conn) { backend.Close() })
			if readErr == nil || writeErr != nil {
				t.Errorf("%d: %v, %v", size, readErr, writeErr)
			}
		})
		t.Run("source stalls", func(t *testing.T) {
			readErr, writeErr := failing(t, size, stall, func(_, _ net.Conn) {})
			if !errors.Is(readErr, os.ErrDeadlineExceeded) || writeErr != nil {
				t.Errorf("%d: %v, %v", size, readErr, writeErr)
			}
		})
	}
	t.Run("destination", func(t *testing.T) {
		readErr, writeErr := failing(t, 10<<20, patience, func(client, backend net.Conn) {
			_ = client.(*net.TCPConn).SetLinger(0)
			client.Close()
			_, _ = io.Copy(backend, endless{})
		})
		if readErr != nil || writeErr == nil {
			t.Errorf("%v, %v", readErr, writeErr)
		}
	})
	t.Run("destination stalls", func(t *testing.T) {
		readErr, writeErr := failing(t, 100<<20, stall, func(_, backend net.Conn) { _, _ = io.Copy(backend, endless{}) })
		if readErr != nil || !errors.Is(writeErr, os.ErrDeadlineExceeded) {
			t.Errorf("%v, %v", readErr, writeErr)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// stall is how long is waited for a byte that does not come.
const stall = 200 * time.Millisecond

// failing copies a response of a size from a backend that sends its head and 500 bytes, and then does this.
func failing(t *testing.T, size int64, idle time.Duration, then func(client, backend net.Conn)) (readErr, writeErr error) {
	client, front := pair(t, "tcp")
	ours, backend := pair(t, "tcp")
	_ = ours.SetDeadline(time.Time{})
	var wg sync.WaitGroup
	s := serve(t, front, Options{}, func(s message.ServerStream) {
		x, err := NewClient(ours, Options{}).Start(s.Request(), 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer x.Close(message.Cancelled)
		var r message.Response
		if err := x.ReadHead(&r); err != nil {
			t.Error(err)
			return
		}
		_ = s.WriteHead(&r, x.ResponseLength())
		_, readErr, writeErr = Copy(s, x, idle)
		s.Abort(message.Internal)
	})
	wg.Go(func() {
		b := make([]byte, 1000)
		_, _ = backend.Read(b)
		_, _ = fmt.Fprintf(backend, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%0500d", size, 0)
		then(client, backend)
	})
	_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nhost: h\r\n\r\n")
	_ = s.wait(t)
	ours.Close()
	wg.Wait()
	return readErr, writeErr
}

// What the kernel moves is not cut while it moves, however slowly, and is whole after pauses.
func TestCopySlowly(t *testing.T) {
	const size, idle = 4 << 20, 2 * time.Second
	client, front := pair(t, "tcp")
	ours, backend := pair(t, "tcp")
	_ = ours.SetDeadline(time.Time{})
	s := serve(t, front, Options{}, func(s message.ServerStream) {
		x, err := NewClient(ours, Options{}).Start(s.Request(), 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer x.Close(message.Cancelled)
		var r message.Response
		if err := x.ReadHead(&r); err != nil {
			t.Error(err)
			return
		}
		_ = s.WriteHead(&r, x.ResponseLength())
		n, readErr, writeErr := Copy(s, x, idle)
		if n != size || readErr != nil || writeErr != nil {
			t.Errorf("%d bytes, %v, %v", n, readErr, writeErr)
		}
		_ = s.Finish(nil)
	})
	want := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
	go func() {
		_, _ = backend.Read(make([]byte, 1000))
		_, _ = fmt.Fprintf(backend, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", size)
		tick := time.NewTicker(idle / 3) // longer than it takes to look
		defer tick.Stop()
		rest := want
		for range 6 {
			_, _ = backend.Write(rest[:1000])
			rest = rest[1000:]
			<-tick.C
		}
		_, _ = backend.Write(rest)
	}()
	_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
	got, err := io.ReadAll(client)
	if _, body, _ := bytes.Cut(got, []byte("\r\n\r\n")); !bytes.Equal(body, want) || err != nil {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	_ = s.wait(t)
}
