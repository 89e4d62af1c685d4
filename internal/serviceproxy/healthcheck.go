package serviceproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

// healthCheck is what is answered on one healthCheckNodePort.
type healthCheck struct {
	service model.ServiceName
	local   int // ready endpoints on this node
}

// healthChecksOf gives the checks by port; of two Services with one port the first by name has it.
func healthChecksOf(all map[model.ServiceName]plan.HealthCheck) map[uint16]healthCheck {
	out := make(map[uint16]healthCheck, len(all))
	for name, c := range all {
		if other, taken := out[c.Port]; !taken || name.Compare(other.service) < 0 {
			out[c.Port] = healthCheck{name, c.LocalEndpoints}
		}
	}
	return out
}

// healthChecks keeps a listener open for each healthCheckNodePort. A port that cannot be opened is reported and tried again by each sync.
type healthChecks struct {
	log     *slog.Logger
	healthy func() bool // of the proxy as a whole

	mu      sync.Mutex
	servers map[uint16]*checkServer
}

type checkServer struct {
	answer atomic.Pointer[healthCheck]
	http   *http.Server // nil: not open
	done   chan struct{}
	err    error // why not
}

func newHealthChecks(log *slog.Logger, healthy func() bool) *healthChecks {
	return &healthChecks{log: log, healthy: healthy, servers: map[uint16]*checkServer{}}
}

// sync opens and closes ports so that these are answered.
func (h *healthChecks) sync(want map[uint16]healthCheck) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for port, s := range h.servers {
		if _, stays := want[port]; !stays {
			s.close()
			delete(h.servers, port)
		}
	}
	for port, check := range want {
		s := h.servers[port]
		if s == nil {
			s = &checkServer{}
			h.servers[port] = s
		}
		s.answer.Store(&check)
		if s.http == nil {
			h.open(port, s)
		}
	}
}

func (h *healthChecks) open(port uint16, s *checkServer) {
	before := s.err
	var listener net.Listener
	listener, s.err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", ":"+strconv.Itoa(int(port)))
	if s.err != nil {
		s.err = fmt.Errorf("Service %v spec.healthCheckNodePort: %w", s.answer.Load().service, s.err)
		if before == nil {
			h.log.Warn("cannot open health-check port", "port", port, "error", s.err)
		}
		return
	}
	server := &http.Server{
		Handler:           h.handler(s),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 8 << 10,
		ErrorLog:       slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	s.http, s.done = server, done
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("health-check port stopped answering", "port", port, "error", err)
		}
	}()
}

// handler answers as kube-proxy does (KEP-3458 for the weight).
func (h *healthChecks) handler(s *checkServer) http.HandlerFunc {
	type service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		c, healthy := s.answer.Load(), h.healthy()
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(c.local))
		writeHealth(w, c.local > 0 && healthy, struct {
			Service             service `json:"service"`
			LocalEndpoints      int     `json:"localEndpoints"`
			ServiceProxyHealthy bool    `json:"serviceProxyHealthy"`
		}{service{c.service.Namespace, c.service.Name}, c.local, healthy})
	}
}

func (s *checkServer) close() {
	if s.http != nil {
		_ = s.http.Close() // it only says what the clients' connections say
		<-s.done
	}
}

func (h *healthChecks) close() { h.sync(nil) }

func (h *healthChecks) status() (out []HealthCheckStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for port, s := range h.servers {
		c := s.answer.Load()
		st := HealthCheckStatus{Port: port, Service: c.service.String(), LocalEndpoints: c.local}
		if s.err != nil {
			st.Error = s.err.Error()
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b HealthCheckStatus) int { return int(a.Port) - int(b.Port) })
	return out
}
