package transport

import (
	"runtime"
	"testing"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// BenchmarkIdle tells what a connection holds that had a request and waits for the next: the server's side, without the kernel's buffers.
func BenchmarkIdle(b *testing.B) {
	const conns = 500
	addr := serve(b, hello, Options{})
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		before := memory()
		var clients []*Client
		for range conns {
			c := dial(b, addr, Options{})
			if _, err := request(c, usual(), &message.Response{}, make([]byte, 1000)); err != nil {
				b.Fatal(err)
			}
			clients = append(clients, c)
		}
		b.ReportMetric(float64(memory()-before)/(2*conns), "B/side")
		for _, c := range clients {
			c.Close()
		}
	}
}
