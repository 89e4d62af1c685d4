package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/internal/proxy/agent/probe"
)

// port is one that is served here.
type port struct {
	l net.Listener // nil: it is served nowhere
	h http.Handler
}

// ports opens what kubelets and Prometheus ask.
func (a *agent) ports(ctx context.Context, p carrier) ([]port, error) {
	status, err := listen(ctx, a.o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	health, err := listen(ctx, a.o.Health)
	if err != nil {
		if status != nil {
			_ = status.Close()
		}
		return nil, fmt.Errorf("readiness: %w", err)
	}
	return []port{{status, a.status(p)}, {health, p.Health()}}, nil
}

// status is what is served beside a proxy's metrics.
func (a *agent) status(p carrier) http.Handler {
	m := http.NewServeMux()
	m.Handle("/", p.Metrics())
	m.Handle("GET /stats/prometheus", a.probes.Metrics(p.Metrics()))
	m.Handle(probe.HealthPath, a.probes)
	m.Handle(probe.LifecyclePath, a.probes)
	// An application that has done its work ends the Pod by this, where the proxy is a container like itself.
	m.Handle("POST /quitquitquit", fromHere(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("OK"))
		a.log.Info("asked to quit")
		a.quits()
	}))
	return m
}

// fromHere lets only those ask that are in the same Pod.
func fromHere(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() {
			http.Error(w, "only requests from localhost are allowed", http.StatusForbidden)
			return
		}
		h(w, r)
	})
}

// serve answers until ctx ends.
func (p port) serve(ctx context.Context, log *slog.Logger) {
	if p.l == nil {
		return
	}
	server := &http.Server{Handler: p.h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	defer context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // an answer that is under way
		defer cancel()
		_ = server.Shutdown(last)
		_ = server.Close()
	})()
	if err := server.Serve(p.l); !errors.Is(err, http.ErrServerClosed) {
		log.Error("nobody is told of metrics and probes any more", "error", err)
	}
}
