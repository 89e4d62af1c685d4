package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Bodies of requests over HTTP/2 arrive whole, with their trailers, whether all of them was there at once or not, and whether their length was told.
func TestBodiesOverHTTP2(t *testing.T) {
	b := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%d %v %s", len(body), err, r.Trailer.Get("x-sum"))
	})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	for _, upstream := range []string{"", speakHTTP2} {
		r := start(t, []string{hcm("main", "", all(toWeb("/", `, retry_policy: {retry_on: "5xx", num_retries: 1}`)))}, []string{cluster("web", upstream, b)})
		for _, n := range []int{0, 1, 100, 16 << 10, 16<<10 + 1, 1 << 20} {
			for _, kind := range []string{"length", "no length", "trailers"} {
				var body io.Reader = bytes.NewReader(make([]byte, n))
				if kind != "length" {
					body = io.MultiReader(body) // hides it
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.addr("main")+"/", body)
				if err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprintf("%d <nil> ", n)
				if kind == "trailers" {
					req.Trailer = http.Header{"X-Sum": {"7"}}
					want += "7"
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatalf("%d bytes, %s: %v", n, kind, err)
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || strings.TrimSpace(string(got)) != strings.TrimSpace(want) {
					t.Errorf("%q: %d bytes, %s: %q, %v", upstream, n, kind, got, err)
				}
			}
		}
		r.end()
	}
}
