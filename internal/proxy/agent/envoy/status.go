package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ready says why Envoy does not serve as it should, nil if it does.
func (e *Envoy) ready(ctx context.Context) error {
	switch {
	case e.leaving.Load():
		return errors.New("DRAINING")
	case e.o.Ready != nil && !e.o.Ready():
		return errors.New("there is no certificate yet")
	}
	if err := e.admin.do(ctx, http.MethodGet, "/ready", io.Discard); err != nil {
		return err
	}
	if e.seen.Load() {
		return nil
	}
	err := e.admin.configured(ctx)
	if err == nil {
		e.seen.Store(true)
		e.o.Log.Info("Envoy is ready")
	}
	return err
}

// Health answers whether Envoy is ready.
func (e *Envoy) Health() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /healthz/ready", e.readiness)
	return m
}

func (e *Envoy) readiness(w http.ResponseWriter, r *http.Request) {
	if err := e.ready(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("LIVE\n"))
}

// Metrics shows Envoy's metrics with those of the agent.
func (e *Envoy) Metrics() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /healthz/ready", e.readiness)
	m.HandleFunc("GET /stats/prometheus", e.prometheus)
	m.HandleFunc("GET /metrics", e.prometheus)
	return m
}

func (e *Envoy) prometheus(w http.ResponseWriter, r *http.Request) {
	var b bytes.Buffer
	if err := e.admin.do(r.Context(), http.MethodGet, "/stats/prometheus", &b); err != nil {
		http.Error(w, fmt.Sprintf("Envoy's metrics: %v", err), http.StatusServiceUnavailable)
		return
	}
	if e.o.Counted != nil {
		_, _ = e.o.Counted.WriteTo(&b) // a buffer takes everything
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = w.Write(b.Bytes())
}

// Close does nothing: Run ends the process.
func (e *Envoy) Close() {}
