package proxy_test

import (
	"bufio"
	cryptotls "crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A stream is idle when nothing comes from either side: one that says something keeps it, however silent the other is.
func TestIdleIsOfBothSides(t *testing.T) {
	const often, enough = 30 * time.Millisecond, 1500 * time.Millisecond
	speak := func(w io.Writer, flush func() error) {
		tick := time.NewTicker(often)
		defer tick.Stop()
		for end := time.Now().Add(enough); time.Now().Before(end); <-tick.C {
			if _, err := io.WriteString(w, "x"); err != nil || flush() != nil {
				return
			}
		}
		_, _ = io.WriteString(w, ".")
		_ = flush()
	}
	noFlush := func() error { return nil }
	heard := func(r io.Reader) bool {
		text, _ := bufio.NewReader(r).ReadString('.')
		return strings.HasSuffix(text, ".")
	}
	listened, silent := make(chan bool, 4), make(chan error, 4)
	b := backend(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		switch r.URL.Path {
		case "/stream":
			_ = rc.EnableFullDuplex()
			_ = rc.Flush()
			speak(w, rc.Flush)
			return
		case "/upload":
			_ = rc.EnableFullDuplex()
			_ = rc.Flush()
			listened <- heard(r.Body)
			_, _ = io.WriteString(w, ".")
			return
		}
		c, br, err := rc.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
		switch r.URL.Path {
		case "/server":
			speak(c, noFlush)
		case "/client":
			listened <- heard(br)
			_, _ = io.WriteString(c, ".")
		case "/nobody":
			_, err := br.ReadByte()
			silent <- err
		}
	})
	const upgrade = "connection: upgrade\r\nupgrade: websocket\r\n\r\n"
	const chunked = "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
	cert, key := pair(t, "one.example")
	options := "upgrade_configs: [{upgrade_type: websocket}], stream_idle_timeout: 0.6s, "
	for _, retry := range []string{"", `, retry_policy: {retry_on: "5xx", num_retries: 1}`} {
		main := httpFilter(options, "", all(toWeb("/", ", timeout: 0s"+retry)))
		r := start(t, []string{listener("plain", "", `{filters: [`+main+`]}`), listener("tls", "", `{filters: [`+main+`], `+tlsSocket(cert, key, "http/1.1")+`}`)},
			[]string{cluster("web", "", b)})
		ask := func(name, path, head string, f func(c net.Conn, br *bufio.Reader, body io.Reader)) {
			nc, err := net.Dial("tcp", r.addr(name))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = nc.Close() }()
			if name == "tls" {
				nc = cryptotls.Client(nc, trusting())
			}
			_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(nc, "POST "+path+" HTTP/1.1\r\nhost: a\r\n"+head)
			br := bufio.NewReader(nc)
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			f(nc, br, resp.Body)
		}
		var all sync.WaitGroup
		run := func(name, path, head string, f func(c net.Conn, br *bufio.Reader, body io.Reader)) {
			all.Go(func() { ask(name, path, head, f) })
		}
		for _, name := range []string{"plain", "tls"} {
			if retry == "" {
				run(name, "/server", upgrade, func(_ net.Conn, br *bufio.Reader, _ io.Reader) {
					if !heard(br) {
						t.Errorf("%s: a tunnel was cut in which the endpoint spoke", name)
					}
				})
				run(name, "/client", upgrade, func(c net.Conn, br *bufio.Reader, _ io.Reader) {
					speak(c, noFlush)
					if !<-listened || !heard(br) {
						t.Errorf("%s: a tunnel was cut in which the client spoke", name)
					}
				})
				run(name, "/nobody", upgrade, func(_ net.Conn, br *bufio.Reader, _ io.Reader) {
					_, err := br.ReadByte()
					if <-silent == nil || err == nil {
						t.Errorf("%s: a tunnel in which nobody spoke: %v", name, err)
					}
				})
			}
			run(name, "/stream", chunked, func(_ net.Conn, _ *bufio.Reader, body io.Reader) {
				if !heard(body) {
					t.Errorf("%s: a response was cut while the request stood still", name)
				}
			})
			run(name, "/upload", chunked, func(c net.Conn, _ *bufio.Reader, body io.Reader) {
				speak(writerFunc(func(p []byte) (int, error) { return io.WriteString(c, "1\r\n"+string(p)+"\r\n") }), noFlush)
				if !<-listened {
					t.Errorf("%s: a request was cut while the response stood still", name)
				}
				if !heard(body) {
					t.Errorf("%s: a response was cut that stood still during the request", name)
				}
			})
		}
		all.Wait()
		r.end()
	}
}
