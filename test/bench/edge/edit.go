package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/weftmesh/weft/test/bench/measure"
)

const (
	editedRoutes = 3000
	edits        = 200
)

// edit measures the time from an edit of one VirtualService among many to the first request that is answered by it. Requests go on all the time,
// on one connection; each must be answered as before the edit or as after it.
func (b *bench) edit(ctx context.Context) error {
	dir := filepath.Join(b.dir, "folder")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	put := func(name, text string) error {
		part := filepath.Join(b.dir, "part")
		if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
			return err
		}
		return os.Rename(part, filepath.Join(dir, name))
	}
	route := func(n int, answer string) error {
		return put(fmt.Sprintf("route-%d.yaml", n), fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: route-%d, namespace: default}
spec:
  hosts: [host-%d.test]
  gateways: [public]
  http:
  - match: [{uri: {prefix: /there}}]
    redirect: {uri: /elsewhere}
  - directResponse: {status: 200, body: {string: "%s"}}
`, n, n, answer))
	}
	if err := put("gateway.yaml", `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: default}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
`); err != nil {
		return err
	}
	for n := range editedRoutes {
		if err := route(n, "before"); err != nil {
			return err
		}
	}
	p, err := start(ctx, measure.AnyProcessor, firstPort, b.gateway, "gateway", "-f", dir, "--admin-address", "", "--port", "80="+strconv.Itoa(firstPort))
	if err != nil {
		return err
	}
	defer p.Stop()
	client := &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(host string) (int, string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+strconv.Itoa(firstPort)+"/", http.NoBody)
		if err != nil {
			return 0, "", err
		}
		r.Host = host
		response, err := client.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		return response.StatusCode, string(body), err
	}
	var took []time.Duration
	for i := range edits {
		n := i * 7 % editedRoutes
		host, want := fmt.Sprintf("host-%d.test", n), "after-"+strconv.Itoa(i)
		if err := route(n, want); err != nil {
			return err
		}
		began := time.Now()
		for {
			status, body, err := ask(host)
			if err != nil || status != http.StatusOK {
				return fmt.Errorf("during edit %d: status %d: %w", i, status, err)
			}
			if body == want {
				break
			}
			if time.Since(began) > 10*time.Second {
				return fmt.Errorf("edit %d does not arrive: %q", i, body)
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))].Round(10 * time.Microsecond) }
	fmt.Printf("\nedit: one of %d VirtualServices in a folder, until a request is answered by it\n  weft     median %v, p99 %v, most %v, of %d edits; no request failed\n",
		editedRoutes, at(0.5), at(0.99), at(1), edits)
	return nil
}
