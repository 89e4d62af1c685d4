package hostile

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What the admin endpoint shows holds no key, what changes anything is asked for by POST, and nothing that is sent to it ends the process.
func TestAdmin(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain"}, {name: "tls", tls: true}}, cluster("web", overTLS, b.addr()))
	for _, path := range []string{"/config_dump", "/config_dump?resource=static_listeners", "/certs", "/clusters", "/clusters?format=json", "/listeners", "/server_info", "/stats", "/", "/xds", "/debug/pprof/cmdline"} {
		if _, text := e.admin(t, "GET", path); strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("%s shows a key", path)
		}
	}
	_, dump := e.admin(t, "GET", "/config_dump")
	if !json.Valid([]byte(dump)) || !strings.Contains(dump, "BEGIN CERTIFICATE") || strings.Count(dump, "[redacted]") < 2 {
		t.Errorf("the dump is no dump, or its keys are not even told of: %.300s", dump)
	}
	for _, path := range []string{"/quitquitquit", "/drain_listeners", "/logging?level=debug"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
			if status, _ := e.admin(t, method, path); status != http.StatusMethodNotAllowed && status != http.StatusForbidden {
				t.Errorf("%s %s: %d", method, path, status)
			}
		}
	}
	at, metrics, health := e.Admin().Addresses()
	for _, addr := range []string{at.String(), metrics.String(), health.String()} {
		for _, raw := range []string{
			"", "\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET //////config_dump HTTP/1.1\r\nhost: h\r\n\r\n", "GET /../../etc/passwd HTTP/1.1\r\nhost: h\r\n\r\n",
			"GET /debug/pprof/../../config_dump HTTP/1.1\r\nhost: h\r\n\r\n", "GET /debug/pprof/nothing?debug=x HTTP/1.1\r\nhost: h\r\n\r\n",
			"GET /debug/pprof/profile?seconds=-1 HTTP/1.1\r\nhost: h\r\n\r\n", "GET /config_dump?resource=%00&mask=%ff HTTP/1.1\r\nhost: h\r\n\r\n",
			"GET /stats?filter=%ff%00(((&format=x HTTP/1.1\r\nhost: h\r\n\r\n", "GET /clusters?format=%ff HTTP/1.1\r\nhost: h\r\n\r\n", "GET /%00 HTTP/1.1\r\nhost: h\r\n\r\n",
			"POST /config_dump HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999\r\n\r\n", "POST /logging?level=%ff HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n", "TRACE / HTTP/1.1\r\nhost: h\r\n\r\n",
			"CONNECT h:1 HTTP/1.1\r\nhost: h\r\n\r\n", "GET / HTTP/1.1\r\nhost: h\r\nx: " + strings.Repeat("x", 2<<20) + "\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\x00\x01",
		} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			go func() {
				_, _ = io.WriteString(c, raw)
				_ = c.(*net.TCPConn).CloseWrite()
			}()
			in := bufio.NewReader(c)
			if resp, err := http.ReadResponse(in, nil); err == nil {
				text, _ := io.ReadAll(resp.Body)
				if resp.StatusCode >= 500 && resp.StatusCode != 501 && resp.StatusCode != 505 && !strings.Contains(raw, "pprof") || strings.Contains(string(text), "PRIVATE KEY") {
					t.Errorf("%.60q is answered with %d %.200s", raw, resp.StatusCode, text)
				}
			}
			_ = c.Close()
		}
	}
	if status, _ := e.admin(t, "GET", "/ready"); status != 200 {
		t.Errorf("not ready any more: %d", status)
	}
}

// The page of a site that somebody looks at, on the machine of the proxy or through a forwarded port, does not end the proxy.
func TestAdminFromABrowser(t *testing.T) {
	e := start(t, []listener{{name: "plain", routes: `{match: {prefix: /}, direct_response: {status: 200}}`}}, cluster("web", "", "127.0.0.1:1"))
	at, _, _ := e.Admin().Addresses()
	for _, header := range []http.Header{{"Sec-Fetch-Site": {"cross-site"}}, {"Origin": {"http://site.example"}}} {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+at.String()+"/logging?level=debug", nil)
		req.Header = header
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		req.URL.Path = "/quitquitquit"
		again, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(again.Body)
		_ = again.Body.Close()
		if !strings.Contains(string(text), "cross-origin") {
			t.Errorf("%v: %d %s", header, again.StatusCode, text)
		}
	}
}

// A line of the access log is one, whatever is in the request that it tells of.
func TestAccessLogOfHostileRequests(t *testing.T) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain"}}, cluster("web", "", b.addr()))
	agents := []string{`"}` + "\\n", "\xff\xfe\xc3\x28", "\u2028\u2029", `\u0000\"`, `", "code": "200`, "a\tb", strings.Repeat("\\", 1000), "\x1b[31m"[1:], "%REQ(HOST)% %s %n"}
	for _, a := range agents {
		if got := answers(e.dial(t, "plain"), "GET /log?"+strings.Map(func(r rune) rune {
			if r <= ' ' || r == '#' {
				return '_'
			}
			return r
		}, a)+" HTTP/1.1\r\nhost: h\r\nuser-agent: "+a+"\r\nconnection: close\r\n\r\n", false); got != "200" {
			t.Errorf("%q: %s", a, got)
		}
	}
	eventually(t, "all are logged", func() bool { return len(e.lines(t)) >= len(agents) })
	lines := e.lines(t)
	if len(lines) != len(agents) {
		t.Errorf("%d lines of %d requests", len(lines), len(agents))
	}
	for _, l := range lines {
		if l["code"] != 200.0 && l["code"] != "200" {
			t.Errorf("line %v", l)
		}
	}
}
