package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Probe is one of the questions that a kubelet or a load balancer asks.
type Probe uint8

// The probes; or them together to let one check answer several.
const (
	// Livez asks whether a restart would help. It must not depend on anything outside the process.
	Livez Probe = 1 << iota
	// Readyz asks whether the component does its work.
	Readyz
	// Healthz asks whether the node should get traffic from a load balancer, as kube-proxy's port 10256 does.
	Healthz
)

// checkTimeout is how long a check may take before it counts as failed.
const checkTimeout = 2 * time.Second

type check struct {
	name string
	on   Probe
	fn   func(context.Context) error
}

// checks is the set of checks of one component.
type checks struct {
	mu   sync.Mutex
	list []check
}

func (c *checks) add(name string, on Probe, fn func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, check{name, on, fn})
}

// result is the outcome of one check.
type result struct {
	name string
	err  error
}

// run asks every check of a probe, one after the other, in the order in which they were added.
func (c *checks) run(ctx context.Context, on Probe) (results []result, ok bool) {
	c.mu.Lock()
	list := slices.Clone(c.list)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	ok = true
	for _, ch := range list {
		if ch.on&on == 0 {
			continue
		}
		err := ch.fn(ctx)
		results = append(results, result{ch.name, err})
		ok = ok && err == nil
	}
	return results, ok
}

// handler answers 200 "ok", or 503 with a line for every check; ?verbose shows the lines in both cases.
func (c *checks) handler(on Probe) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		results, ok := c.run(req.Context(), on)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if ok && !req.URL.Query().Has("verbose") {
			fmt.Fprint(w, "ok")
			return
		}
		for _, r := range results {
			if r.err != nil {
				fmt.Fprintf(w, "[-] %s: %s\n", r.name, oneLine(r.err.Error()))
			} else {
				fmt.Fprintf(w, "[+] %s\n", r.name)
			}
		}
	})
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
