package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"

	"github.com/weftmesh/weft/lab/internal/cluster"
	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/network"
	"github.com/weftmesh/weft/lab/internal/state"
	"github.com/weftmesh/weft/lab/internal/tunnel"
)

func nodeNames(dir state.Dir) ([]string, error) {
	config, err := cluster.ReadConfig(dir.Config())
	if err != nil {
		return nil, err
	}
	plan, err := network.New(config.Nodes)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range plan.Nodes {
		names = append(names, n.Name)
	}
	return names, nil
}

// server answers on the lab's control socket: tunnels are the supervisor's own,
// everything else is the lab's.
type server struct {
	dir    state.Dir
	init   int // process 1 of the lab, seen from outside
	logger *slog.Logger

	mu      sync.Mutex
	tunnels []control.Tunnel
}

func (s *server) serve(ctx context.Context) error {
	l, err := control.Listen(s.dir.Control())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var relays sync.WaitGroup
	defer relays.Wait()
	defer cancel()

	lab := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "lab"}) },
		Transport: control.Transport(s.dir.Init()),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			control.Fail(w, fmt.Errorf("the lab does not answer: %w", err))
		},
	}
	type none struct{}
	mux := http.NewServeMux()
	mux.Handle("GET /status", control.Handle(func(r *http.Request, _ none) (*control.Status, error) {
		return s.status(r.Context())
	}))
	mux.Handle("POST /tunnels", control.Handle(func(_ *http.Request, t control.Tunnel) (control.Tunnel, error) {
		relay, err := tunnel.Listen(t, s.status)
		if err != nil {
			return t, err
		}
		t.Port = relay.Port()
		s.mu.Lock()
		s.tunnels = append(s.tunnels, t)
		s.mu.Unlock()
		relays.Go(func() {
			err := relay.Serve(ctx, func(err error) { s.logger.Warn("Connection failed", "err", err) })
			if err != nil {
				s.logger.Error("Tunnel ended", "port", t.Port, "err", err)
			}
		})
		return t, nil
	}))
	mux.Handle("/", lab)
	httpServer := &http.Server{Handler: mux}
	defer context.AfterFunc(ctx, func() { httpServer.Close() })()
	if err := httpServer.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// status is the lab's own, in terms of the machine that the lab runs on.
func (s *server) status(ctx context.Context) (*control.Status, error) {
	status, err := control.NewClient(s.dir.Init()).Status(ctx)
	if err != nil {
		return nil, err
	}
	pids, err := childrenOf(s.init)
	if err != nil {
		return nil, err
	}
	pids[1] = s.init
	status.PID = s.init
	status.Locate(
		func(pid int) (int, bool) { outer, ok := pids[pid]; return outer, ok },
		func(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) },
	)
	s.mu.Lock()
	status.Tunnels = append([]control.Tunnel{}, s.tunnels...)
	s.mu.Unlock()
	return status, nil
}
