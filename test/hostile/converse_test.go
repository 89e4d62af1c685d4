package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// conversation is what a client sends on one connection, all at once and then no more, and what is to come of it. "/~" stands for a path of its own.
type conversation struct {
	name   string
	stream string
	// status of the answers, in order; then the connection ends. A status in the form "400|431" may be either.
	status string
	// seen is the requests that the endpoint sees, in short. Bodies stand behind the target.
	seen []string
	// partly: the endpoint may see the beginning of the first request, though never its end.
	partly bool
	// head: the first request is one, so its answer has no body.
	head bool
}

// converse has every conversation with each listener, and compares what came of it. The backend answers everything with 200.
func converse(t *testing.T, cases []conversation) {
	b := listen(t, fine, nil)
	e := start(t, []listener{{name: "plain"}, {name: "tls", tls: true}}, cluster("web", "", b.addr()))
	mark := func(i int, name, s string) string { return strings.ReplaceAll(s, "/~", fmt.Sprintf("/%s-%d", name, i)) }
	names := []string{"plain", "tls"}
	for i, c := range cases {
		for _, name := range names {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				conn := e.dial(t, name)
				if name == "tls" {
					_ = conn.Close()
					conn = e.dialTLS(t, name, "http/1.1")
				}
				got := answers(conn, mark(i, name, c.stream), c.head)
				if !fits(got, c.status) {
					t.Errorf("answers %q, want %q", got, c.status)
				}
			})
		}
	}
	e.works(t, "plain", "/works")
	e.end()
	b.wait()
	all, partial := b.requests()
	seen, partly := map[string][]string{}, map[string][]string{}
	id := func(r *received) string {
		target := strings.TrimPrefix(strings.TrimPrefix(r.RequestURI, "http://h"), "/")
		for i, c := range target {
			if c == '/' || c == '?' {
				return target[:i]
			}
		}
		return target
	}
	for _, r := range all {
		seen[id(r)] = append(seen[id(r)], r.String())
	}
	for _, r := range partial {
		partly[id(r)] = append(partly[id(r)], r.String())
	}
	delete(seen, "works")
	for i, c := range cases {
		for _, name := range names {
			key := fmt.Sprintf("%s-%d", name, i)
			var want []string
			for _, s := range c.seen {
				want = append(want, mark(i, name, s))
			}
			if d := cmp.Diff(want, seen[key]); d != "" {
				t.Errorf("%s/%s: the endpoint saw (-want +got):\n%s", c.name, name, d)
			}
			if n := len(partly[key]); n > 1 || n == 1 && !c.partly {
				t.Errorf("%s/%s: the endpoint saw beginnings: %q", c.name, name, partly[key])
			}
			delete(seen, key)
			delete(partly, key)
		}
	}
	if len(seen)+len(partly)+len(b.stray) > 0 {
		t.Errorf("the endpoint saw what nobody sent: %q, %q, %q", seen, partly, b.stray)
	}
}

// answers sends a stream and reads the answers until the connection ends: "200 200", or what is wrong with them.
func answers(c net.Conn, stream string, head bool) string {
	go func() {
		_, _ = io.WriteString(c, stream)
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	in := bufio.NewReader(c)
	var all []string
	for {
		req := &http.Request{Method: "GET"}
		if head && len(all) == 0 {
			req.Method = "HEAD"
		}
		resp, err := http.ReadResponse(in, req)
		if err == io.EOF || err == io.ErrUnexpectedEOF && in.Buffered() == 0 {
			return strings.Join(all, " ")
		}
		if err != nil {
			return strings.Join(append(all, err.Error()), " ")
		}
		all = append(all, fmt.Sprint(resp.StatusCode))
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return strings.Join(append(all, err.Error()), " ")
		}
	}
}

func fits(got, want string) bool {
	g, w := strings.Fields(got), strings.Fields(want)
	if len(g) != len(w) {
		return false
	}
	for i := range g {
		if !slices.Contains(strings.Split(w[i], "|"), g[i]) {
			return false
		}
	}
	return true
}
