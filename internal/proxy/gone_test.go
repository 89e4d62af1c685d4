package proxy_test

import (
	"bufio"
	cryptotls "crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// A client of HTTP/1 that goes away takes its request with it, before the response began and after, with a body and without, whether it closes the
// connection or only its direction of it; and one that stays is served however long it takes.
func TestClientOfHTTP1Goes(t *testing.T) {
	began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	proceed := make(chan struct{})
	b := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rc := http.NewResponseController(w)
		switch {
		case strings.HasPrefix(r.URL.Path, "/slow"):
			began <- struct{}{}
			<-proceed
			_, _ = io.WriteString(w, "slow")
			return
		case strings.HasPrefix(r.URL.Path, "/begun"):
			_, _ = io.WriteString(w, "some")
			_ = rc.Flush()
		case r.URL.Path == "/fast":
			_, _ = io.WriteString(w, "fast")
			return
		}
		began <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	})
	cert, key := pair(t, "one.example")
	main := httpFilter("", "", all(toWeb("/", ", timeout: 0s")))
	for _, upstream := range []string{"", speakHTTP2} {
		r := start(t, []string{listener("plain", "", `{filters: [`+main+`]}`), listener("tls", "", `{filters: [`+main+`], `+tlsSocket(cert, key, "http/1.1")+`}`)},
			[]string{cluster("web", upstream, b)})
		dial := func(name string) net.Conn {
			c, err := net.Dial("tcp", r.addr(name))
			if err == nil && name == "tls" {
				c = cryptotls.Client(c, trusting())
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			return c
		}
		for _, name := range []string{"plain", "tls"} {
			if name == "tls" && upstream != "" {
				continue
			}
			for path, how := range map[string]string{"/wait": "close", "/begun": "close", "/wait-half": "half", "/wait-body": "close"} {
				path += "-" + name
				t.Run(fmt.Sprintf("%s %.5q", path, upstream), func(t *testing.T) {
					_ = os.Truncate(r.log, 0)
					c := dial(name)
					head := "GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n"
					if strings.Contains(path, "body") {
						head = "POST " + path + " HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
					}
					_, _ = io.WriteString(c, head)
					within(t, "the request upstream", began)
					if how == "half" {
						type halves interface{ CloseWrite() error }
						if tc, is := c.(*cryptotls.Conn); is {
							_ = tc.CloseWrite()
							_ = tc.NetConn().(halves).CloseWrite()
						} else {
							_ = c.(halves).CloseWrite()
						}
					} else {
						_ = c.Close()
					}
					within(t, "the end of the request upstream", ended)
					if l := r.line(path); l["flags"] != "DC" {
						t.Errorf("%v", l)
					}
				})
			}
			t.Run(fmt.Sprintf("stays %s %.5q", name, upstream), func(t *testing.T) {
				c := dial(name)
				br := bufio.NewReader(c)
				get := func(want string) {
					t.Helper()
					resp, err := http.ReadResponse(br, nil)
					if err != nil {
						t.Fatal(err)
					}
					if body, err := io.ReadAll(resp.Body); string(body) != want || err != nil {
						t.Errorf("%q, %v", body, err)
					}
				}
				const fast = "GET /fast HTTP/1.1\r\nhost: a\r\n\r\n"
				_, _ = io.WriteString(c, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
				within(t, "the request upstream", began)
				_, _ = io.WriteString(c, fast) // early
				select {
				case <-ended:
					t.Error("the request ended")
				case <-time.After(600 * time.Millisecond): // it is looked at by then
				}
				proceed <- struct{}{}
				get("slow")
				get("fast")
				_, _ = io.WriteString(c, fast)
				get("fast")
			})
		}
		eventually(t, "no exchange is under way", func() bool { return strings.Contains(r.metrics(), "\nweft_proxy_requests_active 0\n") })
		r.end()
	}
}
