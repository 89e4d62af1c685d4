package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/weftmesh/weft/lab/internal/cgroup"
	"github.com/weftmesh/weft/lab/internal/control"
	"github.com/weftmesh/weft/lab/internal/machine"
	"github.com/weftmesh/weft/lab/internal/network"
	"github.com/weftmesh/weft/lab/internal/pki"
	"github.com/weftmesh/weft/lab/internal/reaper"
	"github.com/weftmesh/weft/lab/internal/state"
)

// Cluster is a running lab.
type Cluster struct {
	config   *Config
	plan     *network.Plan
	dir      state.Dir
	groups   *cgroup.Tree
	children *reaper.Reaper
	api      *api
	events   func(control.Event)

	mu sync.Mutex
	// machines are those that are on, by name.
	machines map[string]*machine.Client
	ready    bool

	// power is held while machines are switched on or off.
	power sync.Mutex
}

// New prepares a lab. Machines are started from children.
func New(config *Config, dir state.Dir, children *reaper.Reaper, events func(control.Event)) (*Cluster, error) {
	plan, err := network.New(config.Nodes)
	if err != nil {
		return nil, err
	}
	groups, err := cgroup.Find()
	if err != nil {
		return nil, err
	}
	return &Cluster{
		config: config, plan: plan, dir: dir, groups: groups, children: children, events: events,
		machines: map[string]*machine.Client{},
	}, nil
}

// step tells what begins, and gets a function that tells of its end.
func (c *Cluster) step(text string) func() {
	began := time.Now()
	return func() { c.events(control.Event{Text: text, Took: time.Since(began)}) }
}

// Up brings everything up and returns when all nodes are Ready.
func (c *Cluster) Up(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.UpTimeout, fmt.Errorf("the lab was not up within %s", c.config.UpTimeout))
	defer cancel()
	if err := c.prepare(); err != nil {
		return err
	}
	c.power.Lock()
	defer c.power.Unlock()

	// Control plane and container runtimes come up side by side.
	done := c.step(fmt.Sprintf("control plane, and containerd on %d nodes", len(c.plan.Nodes)))
	starts := []func(context.Context) error{c.startControlPlane, c.startOutside}
	for _, n := range c.plan.Nodes {
		starts = append(starts, func(ctx context.Context) error { return c.startRuntime(ctx, n) })
	}
	if err := together(ctx, starts); err != nil {
		return err
	}
	done()

	done = c.step("nodes Ready")
	if err := c.api.register(ctx, c.plan); err != nil {
		return err
	}
	starts = nil
	for _, n := range c.plan.Nodes {
		starts = append(starts, func(ctx context.Context) error { return c.startKubernetes(ctx, n) })
	}
	if err := together(ctx, starts); err != nil {
		return err
	}
	if err := c.api.waitReady(ctx, c.plan, c.broken); err != nil {
		return err
	}
	done()
	if c.config.with(CoreDNS) {
		done = c.step("CoreDNS")
		if err := c.applyCoreDNS(ctx); err != nil {
			return err
		}
		done()
	}
	c.mu.Lock()
	c.ready = true
	c.mu.Unlock()
	return nil
}

// broken tells of a service that ended by itself.
func (c *Cluster) broken(ctx context.Context) error {
	for _, h := range append([]network.Host{c.plan.ControlPlane}, c.plan.Nodes...) {
		m, ok := c.machine(h.Name)
		if !ok {
			return fmt.Errorf("%s went off", h.Name)
		}
		if err := m.Check(ctx); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return nil
}

// prepare makes what all machines need.
func (c *Cluster) prepare() error {
	var nodes []string
	for _, n := range c.plan.Nodes {
		nodes = append(nodes, n.Name)
	}
	server := c.plan.APIServer()
	err := pki.Write(c.dir.PKI(), pki.Request{
		Server: "https://" + server.String(),
		ServerNames: []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			"localhost", c.plan.ControlPlane.Name,
		},
		// 127.0.0.1 is what a tunnel makes of it.
		ServerIPs: slices.Concat(c.plan.ControlPlane.IPs(), c.plan.KubernetesServiceIPs(), []netip.Addr{netip.MustParseAddr("127.0.0.1")}),
		Nodes:     nodes,
	})
	if err != nil {
		return err
	}
	if c.api, err = newAPI(c.plan, c.dir); err != nil {
		return err
	}
	for _, archive := range c.config.Images {
		if err := link(archive, filepath.Join(c.dir.Images(), filepath.Base(archive))); err != nil {
			return err
		}
	}
	return setUpRouter(c.plan)
}

// together calls all functions at once and returns when all have returned.
func together(ctx context.Context, calls []func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(calls))
	var all sync.WaitGroup
	for i, call := range calls {
		all.Go(func() {
			if errs[i] = call(ctx); errs[i] != nil {
				cancel() // the first failure is the one to hear of
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}

// powerOn starts a machine, plugs it in and boots it.
func (c *Cluster) powerOn(ctx context.Context, host network.Host, spec machine.Spec) (*machine.Client, error) {
	if err := os.MkdirAll(spec.Var, 0o755); err != nil {
		return nil, err
	}
	m, err := machine.Start(c.children, c.config.Program, []string{"weft-lab", "machine", host.Name})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", host.Name, err)
	}
	c.mu.Lock()
	c.machines[host.Name] = m
	c.mu.Unlock()
	if err := plug(host, m.Pid()); err != nil {
		return nil, err
	}
	if err := m.Boot(ctx, spec); err != nil {
		return nil, fmt.Errorf("%s: boot: %w", host.Name, err)
	}
	return m, nil
}

func (c *Cluster) startControlPlane(ctx context.Context) error {
	m, err := c.powerOn(ctx, c.plan.ControlPlane, controlPlaneSpec(c.config, c.plan, c.dir))
	if err != nil {
		return err
	}
	if err := m.StartService(ctx, controlPlaneService(c.config, c.plan)); err != nil {
		return err
	}
	c.events(control.Event{Text: "  the API server answers at " + c.plan.APIServer().String()})
	return nil
}

func (c *Cluster) startOutside(ctx context.Context) error {
	_, err := c.powerOn(ctx, c.plan.Outside, outsideSpec(c.plan, c.dir))
	return err
}

// startRuntime powers a node on as far as its containers' runtime.
func (c *Cluster) startRuntime(ctx context.Context, node network.Host) error {
	spec, err := nodeSpec(c.config, c.plan, c.dir, node)
	if err != nil {
		return err
	}
	m, err := c.powerOn(ctx, node, spec)
	if err != nil {
		return err
	}
	if err := m.StartService(ctx, containerdService(c.config)); err != nil {
		return fmt.Errorf("%s: %w", node.Name, err)
	}
	for _, archive := range c.config.Images {
		if err := c.loadInto(ctx, m, filepath.Base(archive)); err != nil {
			return fmt.Errorf("%s: %w", node.Name, err)
		}
	}
	return nil
}

// startKubernetes starts what makes a machine with a runtime a node.
func (c *Cluster) startKubernetes(ctx context.Context, node network.Host) error {
	m, ok := c.machine(node.Name)
	if !ok {
		return fmt.Errorf("%s is off", node.Name)
	}
	services := []machine.Service{kubeletService(node)}
	if c.config.with(KubeProxy) {
		services = append(services, kubeProxyService())
	}
	for _, s := range services {
		if err := m.StartService(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", node.Name, err)
		}
	}
	return nil
}

// machine finds a machine that is on.
func (c *Cluster) machine(name string) (*machine.Client, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.machines[name]
	if !ok {
		return nil, false
	}
	select {
	case <-m.Done():
		return nil, false
	default:
		return m, true
	}
}

func (c *Cluster) node(name string) (network.Host, error) {
	for _, n := range c.plan.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return network.Host{}, fmt.Errorf("lab %s has no node %q", c.config.Name, name)
}

// StopNode takes a node's power away: kubelet, containers and network are gone
// at once, unannounced.
func (c *Cluster) StopNode(ctx context.Context, name string) error {
	c.power.Lock()
	defer c.power.Unlock()
	if _, err := c.node(name); err != nil {
		return err
	}
	m, ok := c.machine(name)
	if !ok {
		return nil
	}
	if err := m.PowerOff(ctx); err != nil {
		return fmt.Errorf("power %s off: %w", name, err)
	}
	return c.groups.Clear(ctx, c.config.Name, name)
}

// StartNode gives a node its power back; it boots with the disk that it had.
func (c *Cluster) StartNode(ctx context.Context, name string) error {
	c.power.Lock()
	defer c.power.Unlock()
	node, err := c.node(name)
	if err != nil {
		return err
	}
	if _, ok := c.machine(name); ok {
		return nil
	}
	if err = c.startRuntime(ctx, node); err == nil {
		err = c.startKubernetes(ctx, node)
	}
	if err == nil {
		return nil
	}
	if m, ok := c.machine(name); ok {
		// Half a node would look like one that is on.
		err = errors.Join(err, m.PowerOff(context.WithoutCancel(ctx)))
	}
	return err
}

// StopControlPlane ends API server, controllers, scheduler and etcd: in order,
// or, if killed, at once.
func (c *Cluster) StopControlPlane(ctx context.Context, kill bool) error {
	m, ok := c.machine(c.plan.ControlPlane.Name)
	if !ok {
		return errors.New("the control plane's machine is off")
	}
	signal := syscall.SIGTERM
	if kill {
		signal = syscall.SIGKILL
	}
	return m.StopService(ctx, controlPlane, signal)
}

// StartControlPlane starts it with the state it had, and returns when it serves.
func (c *Cluster) StartControlPlane(ctx context.Context) error {
	m, ok := c.machine(c.plan.ControlPlane.Name)
	if !ok {
		return errors.New("the control plane's machine is off")
	}
	return m.StartService(ctx, controlPlaneService(c.config, c.plan))
}

// LoadImage loads an archive, which must lie in the lab's folder of images,
// into every node.
func (c *Cluster) LoadImage(ctx context.Context, file string) error {
	if filepath.Base(file) != file {
		return fmt.Errorf("image archive %q lies elsewhere", file)
	}
	var loads []func(context.Context) error
	for _, n := range c.plan.Nodes {
		m, ok := c.machine(n.Name)
		if !ok {
			return fmt.Errorf("%s is off and would miss the image: start it first", n.Name)
		}
		loads = append(loads, func(ctx context.Context) error {
			if err := c.loadInto(ctx, m, file); err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
			return nil
		})
	}
	return together(ctx, loads)
}

func (c *Cluster) loadInto(ctx context.Context, m *machine.Client, file string) error {
	return m.Run(ctx, "ctr", "--address", containerdSocket, "--namespace", "k8s.io",
		"images", "import", "--snapshotter", c.config.Snapshotter, filepath.Join(imagesDir, file))
}

// link makes a file also known as target: by a hard link, or a copy where the
// two are on different disks.
func link(source, target string) error {
	if err := os.Link(source, target); err == nil {
		return nil
	}
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(target, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
