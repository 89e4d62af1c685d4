// Package admin shows a data plane to who runs it: Envoy's admin interface as far as people and their tools use it, the metrics that Prometheus
// reads, and whether the proxy is ready.
//
// It owns three HTTP listeners and the form of what they show. Private keys are shown on none of them. It changes nothing but the level of the log,
// and ends the process where POST /quitquitquit or /drain_listeners say so.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/server"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// Options are what is shown, and where.
type Options struct {
	Server    *server.Server
	XDS       *xdsclient.Client // nil if there is none
	Bootstrap *bootstrap.Config
	Stats     *stats.Registry
	Ready     func() bool
	Version   string
	Level     *slog.LevelVar // nil: it cannot be changed
	Quit      func()         // nil: nobody may
	Log       *slog.Logger

	// Admin is for who runs the proxy, Metrics for Prometheus, Health for the kubelet. Not valid is nowhere.
	Admin, Metrics, Health netip.AddrPort
}

// Admin is the endpoints. Make it with New, Run it, and Close it.
type Admin struct {
	options Options
	started time.Time
	serving []*endpoint
	once    sync.Once
}

type endpoint struct {
	ln     net.Listener
	server *http.Server
}

// New opens the sockets.
func New(o Options) (*Admin, error) {
	a := &Admin{options: o, started: time.Now()}
	for _, e := range []struct {
		at netip.AddrPort
		h  http.Handler
	}{{o.Admin, http.NewCrossOriginProtection().Handler(a.forAdmin())}, {o.Metrics, a.forMetrics()}, {o.Health, a.forHealth()}} {
		if !e.at.IsValid() {
			a.serving = append(a.serving, nil)
			continue
		}
		ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", e.at.String())
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("admin: %w", err)
		}
		a.serving = append(a.serving, &endpoint{ln, &http.Server{
			Handler: e.h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		}})
	}
	return a, nil
}

// Run serves until Close.
func (a *Admin) Run() {
	var wg sync.WaitGroup
	for _, e := range a.serving {
		if e == nil {
			continue
		}
		wg.Go(func() {
			if err := e.server.Serve(e.ln); !errors.Is(err, http.ErrServerClosed) {
				a.options.Log.Error("an admin endpoint ended", "address", e.ln.Addr(), "error", err)
			}
		})
	}
	wg.Wait()
}

// Close ends it.
func (a *Admin) Close() {
	a.once.Do(func() {
		for _, e := range a.serving {
			if e != nil {
				_ = e.server.Close()
				_ = e.ln.Close()
			}
		}
	})
}

// Addresses are where the three endpoints listen; not valid is nowhere.
func (a *Admin) Addresses() (admin, metrics, health netip.AddrPort) {
	at := func(e *endpoint) netip.AddrPort {
		if e == nil {
			return netip.AddrPort{}
		}
		t, _ := e.ln.Addr().(*net.TCPAddr)
		return t.AddrPort()
	}
	return at(a.serving[0]), at(a.serving[1]), at(a.serving[2])
}

// MetricsHandler is what Metrics serves, for who serves more on the same port.
func (a *Admin) MetricsHandler() http.Handler { return a.forMetrics() }

// HealthHandler is the same of Health.
func (a *Admin) HealthHandler() http.Handler { return a.forHealth() }

func (a *Admin) forMetrics() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /stats/prometheus", a.prometheus)
	m.HandleFunc("GET /metrics", a.prometheus)
	m.HandleFunc("GET /healthz/ready", a.ready)
	return m
}

func (a *Admin) forHealth() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /healthz/ready", a.ready)
	return m
}

func (a *Admin) forAdmin() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", a.index)
	m.HandleFunc("GET /config_dump", a.configDump)
	m.HandleFunc("GET /clusters", a.clusters)
	m.HandleFunc("GET /listeners", a.listeners)
	m.HandleFunc("GET /index", a.meshIndex)
	m.HandleFunc("GET /stats", a.stats)
	m.HandleFunc("GET /stats/prometheus", a.prometheus)
	m.HandleFunc("GET /metrics", a.prometheus)
	m.HandleFunc("GET /server_info", a.serverInfo)
	m.HandleFunc("GET /ready", a.ready)
	m.HandleFunc("GET /healthz/ready", a.ready)
	m.HandleFunc("GET /certs", a.certs)
	m.HandleFunc("GET /xds", a.xds)
	m.HandleFunc("/logging", a.logging)
	m.HandleFunc("POST /drain_listeners", a.quit)
	m.HandleFunc("POST /quitquitquit", a.quit)
	m.HandleFunc("GET /debug/pprof/", pprof.Index)
	m.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	m.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	m.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	m.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return m
}

func (a *Admin) ready(w http.ResponseWriter, _ *http.Request) {
	if a.options.Ready() {
		_, _ = w.Write([]byte("LIVE\n"))
		return
	}
	state := "PRE_INITIALIZING\n"
	if a.options.Server.Draining() {
		state = "DRAINING\n"
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(state))
}

func (a *Admin) quit(w http.ResponseWriter, _ *http.Request) {
	if a.options.Quit == nil {
		http.Error(w, "this process is not ended from here", http.StatusForbidden)
		return
	}
	_, _ = w.Write([]byte("OK\n"))
	a.options.Quit()
}

func (a *Admin) logging(w http.ResponseWriter, r *http.Request) {
	l := a.options.Level
	if l == nil {
		http.Error(w, "the level of this log is fixed", http.StatusForbidden)
		return
	}
	if want := r.URL.Query().Get("level"); want != "" {
		if r.Method != http.MethodPost {
			http.Error(w, "the level is changed by POST", http.StatusMethodNotAllowed)
			return
		}
		var level slog.Level
		if err := level.UnmarshalText([]byte(want)); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		l.Set(level)
	}
	_, _ = fmt.Fprintf(w, "level: %s\n", l.Level())
}
