package admission

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"github.com/weftmesh/weft/internal/inject"
)

const (
	// maxBodyBytes is more than an API server sends: it takes no object of more than 3 MiB itself.
	maxBodyBytes = 6 << 20
	// maxAsked bounds the questions that are looked at at once; more wait, and are told so after waitTime.
	maxAsked = 32
	waitTime = 5 * time.Second
	// maxConns bounds connections: an API server uses few, and anybody in the cluster may come.
	maxConns     = 256
	shutdownTime = 5 * time.Second
)

// Server answers the API server. Its methods are safe for concurrent use.
type Server struct {
	config  func() inject.Config
	log     *slog.Logger
	metrics *metrics
	asked   chan struct{}
}

// NewServer makes a server that injects by what config gives at the time. The error is about metrics that cannot be registered.
func NewServer(config func() inject.Config, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	m, err := newMetrics(reg)
	return &Server{config: config, log: log, metrics: m, asked: make(chan struct{}, maxAsked)}, err
}

// Handler answers at Path and DefaultPath.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+Path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, false) })
	mux.HandleFunc("POST "+DefaultPath, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, true) })
	return mux
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, byDefault bool) {
	began := time.Now()
	o, code := s.respond(w, r, byDefault)
	s.metrics.asked(o, time.Since(began))
	attrs := []any{"result", o.result, "pod", o.pod}
	switch {
	case code != http.StatusOK:
		s.log.Warn("a question about a Pod cannot be understood", "client", r.RemoteAddr, "error", o.err)
		http.Error(w, o.err.Error(), code)
	case o.err != nil:
		s.log.Warn("a Pod is refused", append(attrs, "error", o.err)...)
	case o.result == "injected":
		s.log.Info("a Pod gets its sidecar", attrs...)
	default:
		s.log.Debug("a Pod stays as it is", append(attrs, "reason", o.reason)...)
	}
}

// respond writes an answer, or gives the code by which to say that there is none.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, byDefault bool) (outcome, int) {
	invalid := func(code int, err error) (outcome, int) { return outcome{result: "invalid", err: err}, code }
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return invalid(http.StatusUnsupportedMediaType, errors.New("want application/json"))
	}
	wait, stop := context.WithTimeout(r.Context(), waitTime)
	defer stop()
	select {
	case s.asked <- struct{}{}:
		defer func() { <-s.asked }()
	case <-wait.Done():
		return invalid(http.StatusServiceUnavailable, errors.New("too much is asked at once"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return invalid(http.StatusRequestEntityTooLarge, err)
		}
		return invalid(http.StatusBadRequest, err)
	}
	review, o, err := answer(body, s.config(), byDefault)
	if err != nil {
		return invalid(http.StatusBadRequest, err)
	}
	text, err := json.Marshal(review)
	if err != nil {
		return invalid(http.StatusInternalServerError, err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
	return o, http.StatusOK
}

// Serve answers on l until ctx ends; questions that are under way are answered. The configuration is how the server shows itself.
func (s *Server) Serve(ctx context.Context, l net.Listener, config *tls.Config) error {
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	srv := &http.Server{
		Handler: s.Handler(), TLSConfig: config,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(netutil.LimitListener(l, maxConns), "", "") }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer stop()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close()
	}
	<-done
	return nil
}
