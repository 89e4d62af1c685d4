package routing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Decision is what `weft explain -o json` says of a request, as far as cases look at it.
type Decision struct {
	Kind         string
	Status       int
	Location     string
	Body         string
	Rule         string
	Destinations []struct {
		Weight    float64
		Endpoints []string
		Request   HeaderOps
	}
	Method, Authority, Path string
	Request                 HeaderOps
	Response                HeaderOps
	Fault                   *struct {
		AbortStatus int
		AbortGRPC   *int
		AbortShare  float64
	}
}

// HeaderOps is changes of headers.
type HeaderOps struct {
	Remove   []string
	Set, Add []struct{ Name, Value string }
}

// Model asks weft explain, of a folder.
type Model struct {
	Weft   string // the program
	Folder string
	Args   []string            // say which gateway is meant
	Names  func(string) string // of the endpoint at an address
}

// Explain asks for the decision about a case.
func (m *Model) Explain(ctx context.Context, c Case) (d Decision, err error) {
	method := c.Method
	args := []string{"explain"}
	if method == "GRPC" {
		method, args = http.MethodPost, append(args, "-H", "content-type: application/grpc")
	}
	args = append(args, method, c.URL.String(), "-f", m.Folder, "-o", "json")
	for _, h := range c.Headers {
		args = append(args, "-H", h[0]+": "+h[1])
	}
	cmd := exec.CommandContext(ctx, m.Weft, append(args, m.Args...)...)
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		return d, fmt.Errorf("weft %s: %w", strings.Join(args, " "), err)
	}
	var answer struct{ Decision Decision }
	if err := json.Unmarshal(out, &answer); err != nil {
		return d, fmt.Errorf("weft %s: %w", strings.Join(args, " "), err)
	}
	return answer.Decision, nil
}

// Check compares what the model says with what the case expects, as far as the model can say it.
func (m *Model) Check(ctx context.Context, c Case) error {
	d, err := m.Explain(ctx, c)
	if err != nil {
		return err
	}
	if (d.Kind == "none") != c.Closed {
		return fmt.Errorf("decision %q, closed is %v", d.Kind, c.Closed)
	}
	if c.Rule != "" && d.Rule != c.Rule {
		return fmt.Errorf("rule %q, want %q", d.Rule, c.Rule)
	}
	reached := m.reached(d)
	if err := c.status(d, len(reached) > 0); err != nil {
		return err
	}
	if len(c.To) > 0 {
		if want := slices.Sorted(slices.Values(c.To)); !slices.Equal(keys2(reached), want) {
			return fmt.Errorf("to %v, want %v", keys2(reached), want)
		}
	}
	for _, s := range c.Shares {
		got := 0.0
		for _, name := range s.Of {
			got += reached[name]
		}
		if math.Abs(got-s.Share) > 0.001 {
			return fmt.Errorf("share of %v is %.4f, want %.4f", s.Of, got, s.Share)
		}
	}
	return c.seen(d)
}

// reached gives the endpoints and their shares.
func (m *Model) reached(d Decision) map[string]float64 {
	out, sum := map[string]float64{}, 0.0
	for _, to := range d.Destinations {
		sum += to.Weight
	}
	for _, to := range d.Destinations {
		for _, e := range to.Endpoints {
			if to.Weight > 0 {
				out[m.Names(e)] += to.Weight / sum / float64(len(to.Endpoints))
			}
		}
	}
	return out
}

// status compares what the client is told, if it is not an endpoint that tells it.
func (c *Case) status(d Decision, reaches bool) error {
	got, grpc := d.Status, -1
	if f := d.Fault; f != nil && f.AbortShare == 100 {
		if got = f.AbortStatus; f.AbortGRPC != nil {
			grpc = *f.AbortGRPC
		}
	} else if reaches {
		return nil // the endpoint says it
	}
	if c.Method == "GRPC" {
		if grpc < 0 {
			grpc = map[int]int{400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}[got]
		}
		if c.GRPC >= 0 && grpc != c.GRPC {
			return fmt.Errorf("gRPC status %d, want %d", grpc, c.GRPC)
		}
		return nil
	}
	if c.Status != 0 && got != c.Status {
		return fmt.Errorf("status %d, want %d", got, c.Status)
	}
	if c.Text != nil && d.Body != *c.Text {
		return fmt.Errorf("body %q, want %q", d.Body, *c.Text)
	}
	for _, f := range c.Answers {
		if f.Name == "location" && (f.Value == nil || *f.Value != d.Location) {
			return fmt.Errorf("location %q", d.Location)
		}
	}
	return nil
}

// seen compares what the endpoint sees, as far as the rule decides it.
func (c *Case) seen(d Decision) error {
	for _, f := range c.Sees {
		switch f.Name {
		case ":method", ":path", ":host":
			got := map[string]string{":method": d.Method, ":path": d.Path, ":host": d.Authority}[f.Name]
			if err := f.compare("the endpoint sees", got, true); err != nil {
				return err
			}
			continue
		}
		if f.Value == nil {
			continue
		}
		for _, v := range append(d.Request.Set, d.Request.Add...) {
			if v.Name == f.Name && v.Value != *f.Value {
				return fmt.Errorf("the rule sets %s to %q, want %q", v.Name, v.Value, *f.Value)
			}
		}
	}
	return nil
}

func keys2(m map[string]float64) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Process is a program that a test runs.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error

	mu  sync.Mutex
	log []byte
}

// Run starts a program. What it says is kept for [Process.Log].
func Run(ctx context.Context, name string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.CommandContext(ctx, name, args...), done: make(chan struct{})}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	p.cmd.WaitDelay = 10 * time.Second
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	return p, nil
}

// Write keeps the last of what the program says.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, b...)
	if len(p.log) > 1<<20 {
		p.log = p.log[len(p.log)-1<<19:]
	}
	return len(b), nil
}

// Log is the last of what the program said.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.log[max(0, len(p.log)-8000):])
}

// Wait waits until the program has ended.
func (p *Process) Wait() { <-p.done }

// Ended tells whether the program has ended by itself.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// DialAt gives a function that dials declared ports where they are bound.
func DialAt(ports map[uint16]uint16) func(context.Context, uint16) (net.Conn, error) {
	return func(ctx context.Context, declared uint16) (net.Conn, error) {
		bound, ok := ports[declared]
		if !ok {
			return nil, fmt.Errorf("port %d is bound nowhere", declared)
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(bound))))
	}
}
