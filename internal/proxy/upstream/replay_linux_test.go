package upstream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// A request that an endpoint may have acted on before it reset the connection goes again only if its method is idempotent, whether the endpoint's kernel
// had acknowledged the request by then or not.
func TestResetAfterTheRequestWasRead(t *testing.T) {
	for _, acknowledged := range []bool{true, false} {
		var mu sync.Mutex
		acted := map[string]int{}
		c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, ``), assignmentOf(t, raw(t, func(nc net.Conn) {
			in, tcp := bufio.NewReader(nc), nc.(*net.TCPConn)
			for first := true; ; first = false {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				acted[r.Method]++
				again := acted[r.Method] > 1
				mu.Unlock()
				if !first && !again {
					if acknowledged {
						quickACK(t, tcp)
					}
					_ = tcp.SetLinger(0)
					return
				}
				_, _ = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
			}
		})))
		body := []byte("once")
		for _, r := range []struct {
			method string
			times  int
		}{{"POST", 1}, {"PATCH", 1}, {"PUT", 2}} {
			if _, _, err := ask(t.Context(), c, "GET", nil, message.NoBody, &PickContext{}); err != nil {
				t.Fatal(err)
			}
			_, _, err := ask(t.Context(), c, r.method, body, int64(len(body)), &PickContext{})
			mu.Lock()
			n := acted[r.method]
			mu.Unlock()
			if n != r.times || (err == nil) != (r.times > 1) {
				t.Errorf("%s, acknowledged %v: acted on %d times, want %d; %v", r.method, acknowledged, n, r.times, err)
			}
		}
	}
}

// quickACK has the kernel acknowledge what came on a connection.
func quickACK(t *testing.T, nc *net.TCPConn) {
	t.Helper()
	s, err := nc.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) })
	if err != nil {
		t.Error(err)
	}
}
