package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/weftmesh/weft/internal/finding"
)

// Options say who the component is and where its figures come from.
type Options struct {
	Component string // "node", "dns", "control"
	Instance  string // the Pod's name, or the host's
	Node      string // the Node it runs on, if any
	Version   string

	// Registry holds the metrics; nil is an empty one.
	Registry *prometheus.Registry

	// Status gives Sources, Sections and Findings; everything else is filled in here. It is called per request, on the request's
	// goroutine, and must not block. nil gives none.
	Status func() Status
}

// Admin is the read-only HTTP surface of one component. Make it with [New], add checks and handlers, then [Serve] its handlers.
type Admin struct {
	opts    Options
	started time.Time
	checks  checks
	mux     *http.ServeMux

	mu    sync.Mutex
	paths []string // for the index
}

// New makes the surface with /livez, /readyz, /healthz, /metrics, /status and (from loopback only) /debug/pprof/.
func New(o Options) *Admin {
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	a := &Admin{opts: o, started: time.Now(), mux: http.NewServeMux()}
	a.Handle("/livez", a.Probe(Livez))
	a.Handle("/readyz", a.Probe(Readyz))
	a.Handle("/healthz", a.Probe(Healthz))
	a.Handle("/metrics", a.Metrics())
	a.Handle("/status", http.HandlerFunc(a.serveStatus))
	a.Handle("/debug/pprof/", Loopback(http.HandlerFunc(pprof.Index)))
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		a.mux.Handle(path, Loopback(h)) // the index at /debug/pprof/ names them
	}
	a.mux.HandleFunc("/{$}", a.serveIndex)
	return a
}

// Check adds a check that the given probes ask. fn returns nil when all is well and must return when its context is done. A probe that
// nobody added a check to answers ok.
func (a *Admin) Check(name string, on Probe, fn func(context.Context) error) {
	a.checks.add(name, on, fn)
}

// Handle adds a path of the component's own, by the patterns of [http.ServeMux].
func (a *Admin) Handle(pattern string, h http.Handler) {
	a.mux.Handle(pattern, h)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paths = append(a.paths, pattern)
	slices.Sort(a.paths)
}

// Handler serves every path.
func (a *Admin) Handler() http.Handler { return a.mux }

// Probe answers one probe at whatever path it is mounted, for ports that serve nothing else.
func (a *Admin) Probe(p Probe) http.Handler { return a.checks.handler(p) }

// Metrics serves the registry at whatever path it is mounted.
func (a *Admin) Metrics() http.Handler {
	return promhttp.HandlerFor(a.opts.Registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 8, Timeout: 30 * time.Second,
	})
}

// Status is what /status shows.
func (a *Admin) Status(ctx context.Context) Status {
	var s Status
	if a.opts.Status != nil {
		s = a.opts.Status()
	}
	s.Component, s.Instance, s.Node, s.Version = a.opts.Component, a.opts.Instance, a.opts.Node, a.opts.Version
	s.Started = a.started
	results, ok := a.checks.run(ctx, Readyz)
	s.Ready = ok
	for _, r := range results {
		if r.err != nil {
			s.NotReady = append(s.NotReady, r.name+": "+oneLine(r.err.Error()))
		}
	}
	// A reader of the JSON sees lists, never null.
	s.Sources = append([]Source{}, s.Sources...)
	s.Sections = append([]Section{}, s.Sections...)
	s.Findings = append([]finding.Finding{}, s.Findings...)
	slices.SortFunc(s.Findings, finding.Compare)
	return s
}

func (a *Admin) serveStatus(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(a.Status(req.Context())) // the reader may have gone; there is nobody else to tell
}

func (a *Admin) serveIndex(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintf(w, "weft %s %s\n\n", a.opts.Component, a.opts.Version)
	for _, p := range a.paths {
		fmt.Fprintln(w, p)
	}
}

// Loopback lets only connections from the machine itself through (which includes kubectl port-forward); others get 403.
func Loopback(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		from, err := netip.ParseAddrPort(req.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() {
			http.Error(w, "only from loopback", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, req)
	})
}

// Listener is a bound address and what it serves.
type Listener struct {
	net.Listener
	Handler http.Handler
}

// Listen binds a TCP address ("host:port", where an empty host is every address of both families). The listener is [Serve]'s to close.
func Listen(ctx context.Context, addr string, h http.Handler) (Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return Listener{}, fmt.Errorf("admin endpoint: %w", err)
	}
	return Listener{ln, h}, nil
}

const (
	maxConns     = 256              // a listener accepts no more at a time; further ones wait in the kernel's backlog
	shutdownTime = 3 * time.Second  // what requests in flight get when the component stops
	writeTime    = 90 * time.Second // longer than the profiles and traces that people take
)

// Serve serves the listeners until ctx ends, lets requests in flight finish for a moment, closes everything and returns nil. If one
// listener fails before that, Serve closes the others and returns its error.
func Serve(ctx context.Context, log *slog.Logger, listeners ...Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var failed error
	var once sync.Once
	for _, l := range listeners {
		srv := &http.Server{
			Handler:           l.Handler,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      writeTime,
			IdleTimeout:       30 * time.Second,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		}
		wg.Go(func() {
			if err := srv.Serve(netutil.LimitListener(l.Listener, maxConns)); !errors.Is(err, http.ErrServerClosed) {
				once.Do(func() { failed = fmt.Errorf("admin endpoint %s: %w", l.Addr(), err) })
				cancel(err)
			}
		})
		wg.Go(func() {
			<-ctx.Done()
			grace, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
			defer done()
			if srv.Shutdown(grace) != nil {
				_ = srv.Close()
			}
		})
		log.Debug("admin endpoint listens", "addr", l.Addr().String())
	}
	wg.Wait()
	return failed
}
