package hostile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// paths hide where they go, or try.
var paths = []string{
	"/admin", "/admin/", "/ADMIN", "/public", "/public/../admin", "/public/./x", "/public/..", "/public/../", "/../admin", "/../../admin", "/./admin", "/.", "/..", "/...",
	"/public/%2e%2e/admin", "/public/%2E%2e/admin", "/public/.%2e/admin", "/public/%2e./admin", "/%2e%2e/admin", "/%2e/admin", "/public/..%2fadmin", "/public/..%2Fadmin",
	"/public%2f..%2fadmin", "/public/%2e%2e%2fadmin", "/public/..%5cadmin", "/public/..%255cadmin", "/public/%252e%252e/admin", "/%61dmin", "/%41dmin", "/adm%69n",
	"/adm%2569n", "//admin", "///admin", "/public//../admin", "/public//x", "/public/..//admin", "/admin//", "/public\\..\\admin", "/\\admin", "/public/..\\admin",
	"/public/..;/admin", "/public;/../admin", "/admin;x=y", "/;/admin", "/public;x/..;y/admin", "/admin%00", "/%00admin", "/admin%", "/admin%2", "/admin%zz", "/%u0061dmin",
	"/public/%c0%ae%c0%ae/admin", "/public/\xff/../admin", "/\xc3\xa4/../admin", "/admin?/../public", "/public?/../admin", "/public/?x=/../admin", "/public%3f/../admin", "/public%23/../admin",
	"/public/..%09/admin", "/%20/admin", "/public/.%09./admin", "/public/ %2e/admin", "/admin~", "/a\"b<c>d", "/a{b}|c^d`e", "/a%7eb", "/a%2Db", "/a%2fb", "/a%2Fb", "/public/..%c0%af/admin",
	"/public/....//admin", "/public/.../admin", "/.%2e/.%2e/admin", "/public/x/../../admin", "/public/x/..%2f../admin", "/%2fadmin", "/%2f%2fadmin", "/public%5c..%5cadmin", "/%%32%65%%32%65/admin",
	"/public/..;a=b/admin", "/public/.;/admin", "/public/..;", "/public/%2e%2e;/admin", "/public/..%3b/admin", "/..;/admin", "/public/x/..;x/..;y/admin", "/public/x;/..;/admin",
	"/public/;../admin", "/admin;/x", "/public/...;/admin", "/public/..;;/admin", "/public/;/admin", "/public/..;x%2f/admin",
}

// routesOf tell by their answer which of them decides: the endpoint never sees a path that policy was not asked about.
const routesOf = `{match: {path_separated_prefix: /admin}, direct_response: {status: 403}}, {match: {prefix: /}, route: {cluster: web}}`

var normal = map[string]string{
	"kept":       "",
	"istio":      "normalize_path: true",
	"merged":     "normalize_path: true, merge_slashes: true",
	"strict":     "normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: REJECT_REQUEST",
	"unescaped":  "normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD",
	"redirected": "normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT",
}

// The route, and so any policy, sees the very bytes that the endpoint sees; and as far as Envoy is at hand, they are the bytes that Envoy would send.
func TestPaths(t *testing.T) {
	addr := mirror(t)
	var listeners []listener
	for name, options := range normal {
		listeners = append(listeners, listener{name: name, options: options, routes: routesOf})
	}
	e := start(t, listeners, cluster("web", "", addr))
	for name := range normal {
		for _, path := range paths {
			got := seen(t, e.at(name), path)
			if target, ok := strings.CutPrefix(got, "200 "); ok {
				target, _, _ := strings.Cut(target, "?")
				path, _, _ := strings.Cut(path, "?")
				switch name {
				case "unescaped", "strict":
					// Whoever resolves what is left in whatever way does not come to what the route forbids, as long as he decodes once.
					if strings.Contains(target, "/../") || strings.Contains(strings.ToLower(target), "%2e") || strings.HasPrefix(target, "/admin/") {
						t.Errorf("%s: the endpoint of %q saw %q", name, path, target)
					}
				case "kept":
					if target != path {
						t.Errorf("the endpoint of %q saw %q", path, target)
					}
				}
			}
			r := e.http2(t, name)
			over2 := r.await(r.open(true, get(path)))
			if status, _, _ := strings.Cut(got, " "); status != over2 && !strings.HasPrefix(over2, "RST_STREAM") {
				t.Errorf("%s: %q is answered with %s over HTTP/1 and %s over HTTP/2", name, path, got, over2)
			}
			_ = r.conn.Close()
		}
	}
	t.Run("as Envoy", func(t *testing.T) {
		envoy := startEnvoy(t, addr)
		for name := range normal {
			for _, path := range paths {
				got, want := seen(t, e.at(name), path), seen(t, envoy[name], path)
				if got != want && accepted(path, got, want) == "" {
					t.Errorf("%s: %q: %s, Envoy: %s", name, path, got, want)
				}
			}
		}
	})
}

// mirror answers with the target that it was asked for, byte by byte.
func mirror(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				head, err := bufio.NewReader(c).ReadString('\n')
				_, target, _ := strings.Cut(head, " ")
				target, _, ok := strings.Cut(target, " ")
				if err == nil && ok {
					_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s", len(target), target)
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// accepted gives why an answer may differ from Envoy's; "" is that it may not.
func accepted(path, got, want string) string {
	switch {
	case got[0] == '4' && want[0] == '4':
		return "both refuse"
	case strings.IndexFunc(path, func(r rune) bool { return r >= 0x80 }) >= 0 && want == "400":
		return "Envoy refuses bytes that are not ASCII; here they pass as they are, or encoded where paths are brought into normal form"
	case strings.Contains(path, "%%"):
		return "Envoy encodes a percent sign that encodes nothing if what follows would become an encoding; here that is not decoded"
	case strings.Contains(strings.ToLower(path), "%2e;"):
		return "Envoy takes parameters of dot segments into account only if the dots are not encoded; here in any case"
	}
	return ""
}

// seen asks for a path as it is, and gives status and body, or where it is sent to.
func seen(t *testing.T, at, path string) string {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error()
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode == 200 {
		return "200 " + string(body)
	}
	if l := resp.Header.Get("location"); l != "" {
		return fmt.Sprint(resp.StatusCode, " ", l)
	}
	return fmt.Sprint(resp.StatusCode)
}

// startEnvoy runs stock Envoy with the same listeners, and gives where they are. WEFT_ENVOY names it (scripts/envoy.sh); without it the test is skipped.
func startEnvoy(t *testing.T, backend string) map[string]string {
	t.Helper()
	envoy := os.Getenv("WEFT_ENVOY")
	if envoy == "" {
		t.Skip("WEFT_ENVOY does not say where Envoy is (scripts/envoy.sh)")
	}
	at := map[string]string{}
	var all []string
	for name, options := range normal {
		free := freeport.Hold(t)
		at[name] = free.String()
		l := listener{name: name, options: options, routes: routesOf}
		all = append(all, strings.Replace(l.yaml(""), "port_value: 0", fmt.Sprintf("port_value: %d", free.Port()), 1))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "envoy.yaml")
	text := "node: {id: hostile, cluster: hostile}\nstatic_resources: {listeners: [" + strings.Join(all, ",\n") + "],\nclusters: [" + cluster("web", "", backend) + "]}\n"
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "ACCESS_LOG", filepath.Join(dir, "log"))), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, envoy, "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error")
	var said lockedBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Envoy said: %s", said.String())
		}
	})
	for name := range at {
		eventually(t, "Envoy listens: "+said.String(), func() bool {
			c, err := net.Dial("tcp", at[name])
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
	return at
}
