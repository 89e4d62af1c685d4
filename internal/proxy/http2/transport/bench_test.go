package transport

import (
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// hello answers with a hundred bytes and what servers say of themselves.
func hello(s message.ServerStream) {
	var r message.Response
	r.Status = 200
	r.Fields.Add("content-type", "text/plain")
	r.Fields.Add("server", "a server")
	r.Fields.Add("date", "Thu, 01 Jan 1970 00:00:00 GMT")
	if s.WriteHead(&r, int64(len(hundred))) == nil {
		s.Write(hundred[:])
		s.Finish(nil)
	}
}

var hundred [100]byte

// request does one exchange, and gives how many bytes came.
func request(c *Client, req *message.Request, resp *message.Response, buf []byte) (n int, err error) {
	x, err := c.Start(req, message.NoBody)
	if err != nil {
		return 0, err
	}
	defer x.Close(message.Done)
	if err := x.ReadHead(resp); err != nil {
		return 0, err
	}
	for {
		k, err := x.Read(buf)
		n += k
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func usual() *message.Request {
	r := get("/index")
	r.Fields.Add("user-agent", "a client of some kind")
	r.Fields.Add("accept", "*/*")
	r.Fields.Add("x-forwarded-for", "10.0.0.1")
	return r
}

// BenchmarkRequests is client and server in one process, over loopback, 64 streams at a time on one connection.
func BenchmarkRequests(b *testing.B) {
	addr := serve(b, hello, Options{})
	c := dial(b, addr, Options{})
	b.ReportAllocs()
	var wg sync.WaitGroup
	per := b.N/64 + 1
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			req, buf := usual(), make([]byte, 1024)
			var resp message.Response
			for range per {
				if n, err := request(c, req, &resp, buf); n != 100 || err != nil {
					b.Error(n, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkBody is a megabyte to the client.
func BenchmarkBody(b *testing.B) {
	const size = 1 << 20
	addr := serve(b, func(s message.ServerStream) {
		r := message.Response{Status: 200}
		s.WriteHead(&r, size)
		s.Write(make([]byte, size))
		s.Finish(nil)
	}, Options{})
	c := dial(b, addr, Options{})
	b.SetBytes(size)
	b.ReportAllocs()
	req, buf := usual(), make([]byte, 64<<10)
	var resp message.Response
	for b.Loop() {
		if n, err := request(c, req, &resp, buf); n != size || err != nil {
			b.Fatal(n, err)
		}
	}
}

// A warm connection allocates nothing for an exchange, on both sides together, whether its fields are in the tables or are others each time.
func TestAllocations(t *testing.T) {
	a, z := net.Pipe()
	done := make(chan error)
	go func() {
		var r message.Response
		var digits [20]byte
		count := int64(0)
		done <- Serve(t.Context(), z, handlerFunc(func(s message.ServerStream) {
			count++
			r.Reset()
			r.Status = 200
			r.Fields.Add("x-count", r.Fields.Copy(strconv.AppendInt(digits[:0], count, 10)))
			if s.WriteHead(&r, int64(len(hundred))) == nil {
				s.Write(hundred[:])
				s.Finish(nil)
			}
		}), Options{})
	}()
	c := NewClient(a, Options{})
	req, buf := usual(), make([]byte, 1024)
	var resp message.Response
	n := testing.AllocsPerRun(1000, func() {
		if n, err := request(c, req, &resp, buf); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	})
	if n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
	c.Close()
	<-done
}
