package cluster

import (
	"context"
	"errors"
	"net/http"

	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/network"
)

// LoadRequest names an archive in the lab's folder of images.
type LoadRequest struct {
	File string `json:"file"`
}

// StopRequest says how to stop the control plane.
type StopRequest struct {
	Kill bool `json:"kill"`
}

// Handler answers for the lab. Process numbers in its answers are the lab's own.
func (c *Cluster) Handler() http.Handler {
	type none struct{}
	mux := http.NewServeMux()
	mux.Handle("GET /status", control.Handle(func(r *http.Request, _ none) (*control.Status, error) {
		return c.Status(r.Context()), nil
	}))
	mux.Handle("POST /load-image", control.Handle(func(r *http.Request, in LoadRequest) (none, error) {
		return none{}, c.LoadImage(r.Context(), in.File)
	}))
	mux.Handle("POST /nodes/{node}/stop", control.Handle(func(r *http.Request, _ none) (none, error) {
		return none{}, c.StopNode(r.Context(), r.PathValue("node"))
	}))
	mux.Handle("POST /nodes/{node}/start", control.Handle(func(r *http.Request, _ none) (none, error) {
		return none{}, c.StartNode(r.Context(), r.PathValue("node"))
	}))
	mux.Handle("POST /control-plane/stop", control.Handle(func(r *http.Request, in StopRequest) (none, error) {
		return none{}, c.StopControlPlane(r.Context(), in.Kill)
	}))
	mux.Handle("POST /control-plane/start", control.Handle(func(r *http.Request, _ none) (none, error) {
		return none{}, c.StartControlPlane(r.Context())
	}))
	return mux
}

// Serve answers on the lab's socket until ctx is done.
func (c *Cluster) Serve(ctx context.Context) error {
	l, err := control.Listen(c.dir.Init())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: c.Handler()}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Status tells how the lab is, with the lab's own process numbers.
func (c *Cluster) Status(ctx context.Context) *control.Status {
	s := &control.Status{
		Name: c.config.Name, State: control.Starting, Kubernetes: c.config.KubernetesVersion, With: c.config.With,
		APIServer: "https://" + c.plan.APIServer().String(), Kubeconfig: c.dir.Kubeconfig(), Dir: c.dir.Path(),
		PID: 1, Network: c.plan,
		ControlPlane: c.machineStatus(ctx, c.plan.ControlPlane),
		Outside:      c.machineStatus(ctx, c.plan.Outside),
		Router:       control.Machine{Name: network.Router, IPs: c.plan.Router, On: true, PID: 1},
	}
	c.mu.Lock()
	if c.ready {
		s.State = control.Running
	}
	c.mu.Unlock()
	for _, n := range c.plan.Nodes {
		s.Nodes = append(s.Nodes, c.machineStatus(ctx, n))
	}
	return s
}

func (c *Cluster) machineStatus(ctx context.Context, host network.Host) control.Machine {
	s := control.Machine{Name: host.Name, IPs: host.IPs(), PodCIDRs: host.PodCIDRs}
	m, ok := c.machine(host.Name)
	if !ok {
		return s
	}
	s.On, s.PID = true, m.Pid()
	// A machine that just went off has no services either.
	s.Services, _ = m.Services(ctx)
	return s
}
