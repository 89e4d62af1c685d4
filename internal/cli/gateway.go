package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/server"
	"github.com/weftmesh/weft/internal/xds"
	"github.com/weftmesh/weft/internal/xds/resource"
)

type gatewayFlags struct {
	sourceFlags
	labels    string
	address   string
	ports     []string
	domain    string
	admin     string
	xds       string
	accessLog bool
	drain     time.Duration
}

func gatewayCommand(g *globals) *cobra.Command {
	f := gatewayFlags{}
	cmd := &cobra.Command{
		Use:   "gateway -f FOLDER",
		Short: "Carry the Ingresses and Gateways of a folder, without any Kubernetes",
		Long: `Reads Ingresses, Gateways, VirtualServices and DestinationRules, with the Services, EndpointSlices, WorkloadEntries and Secrets that they
lead to, from a folder of manifests, and carries them: one process, no privileges, live on every save.

A gateway has a namespace (-n) and labels, as its Pods would have in a cluster; Gateways select it by them. With --xds nothing is carried here, and
the configuration is served to other proxies: weft proxy, or Envoy.`,
		Example: `  weft gateway -f ./manifests --port 80=8080 --port 443=8443
  weft gateway -f ./manifests --xds 127.0.0.1:15010`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runGateway(cmd.Context(), cmd.OutOrStdout(), g, f) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.folder, "folder", "f", "", "folder of manifests; it is watched")
	fs.StringVar(&f.labels, "labels", string(defaultFleet), "labels of the gateway, by which Gateways select it")
	fs.StringVar(&f.address, "address", "::", "address to listen on; :: takes IPv4 too")
	fs.StringArrayVarP(&f.ports, "port", "p", nil, "DECLARED=LISTEN: listen on another port than the one declared")
	fs.StringVar(&f.domain, "cluster-domain", "cluster.local", "the DNS domain that Services are in")
	fs.StringVar(&f.admin, "admin-address", "127.0.0.1:15000", "where configuration and statistics are shown; empty: nowhere")
	fs.StringVar(&f.xds, "xds", "", "serve the configuration at this address, in plaintext and to whoever asks, instead of carrying anything")
	fs.BoolVar(&f.accessLog, "access-log", false, "write a line of JSON for each request to standard output")
	fs.DurationVar(&f.drain, "drain-time", 5*time.Second, "how long requests under way may take when the process ends")
	return cmd
}

func runGateway(ctx context.Context, out io.Writer, g *globals, f gatewayFlags) error {
	if f.folder == "" {
		return badUsage("-f: name a folder of manifests")
	}
	bind, err := parsePorts(f.ports)
	if err != nil {
		return err
	}
	namespace := g.namespace
	if namespace == "" {
		namespace = g.system
	}
	fleet, err := parseFleet(namespace+"/"+f.labels, namespace)
	if err != nil {
		return err
	}
	w, err := newWorld(g, "gateway", f.sourceFlags, edgeKinds)
	if err != nil {
		return err
	}
	t := newTraffic(w, f.domain, "")
	keys, edge := newFetcher(w, t), t.edge
	db := w.store.DB()
	s, err := xds.New(xds.Options{
		DB: db, Log: w.log, Identifier: "weft " + Version(),
		Resources:    xds.DefineResources(db, edge, resource.Options{Address: f.address, Bind: bind, AccessLog: f.accessLog}),
		Authenticate: func(context.Context) (xds.Client, error) { return xds.Client{Fleet: fleet}, nil },
	})
	if err != nil {
		return err
	}
	var l net.Listener
	inside := newPipe()
	if l = inside; f.xds != "" {
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", f.xds); err != nil {
			return fmt.Errorf("--xds: %w", err)
		}
		fmt.Fprintf(out, "serving xDS on %v\n", l.Addr())
	}
	group, ctx := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // until the proxy has drained
	defer stop()
	group.Go(func() error { return w.run(ctx) })
	group.Go(func() error { return keys.Run(ctx) })
	group.Go(func() error { db.Maintain(ctx, time.Minute); return nil })
	group.Go(func() error { tellFindings(ctx, w); return nil })
	group.Go(func() error {
		defer l.Close()
		if w.store.Wait(ctx) != nil { // what is not read yet would be taken away from proxies
			return nil
		}
		return s.Serve(serving, l)
	})
	group.Go(func() error {
		defer stop()
		if f.xds != "" {
			<-ctx.Done()
			return nil
		}
		return carry(ctx, out, w.log, fleet, inside, f)
	})
	return group.Wait()
}

// carry runs the proxy of this process.
func carry(ctx context.Context, out io.Writer, log *slog.Logger, fleet model.Fleet, server *pipe, f gatewayFlags) error {
	id := bootstrap.Identity{Name: instance(), Namespace: fleet.Namespace, Cluster: "weft-gateway", Version: Version(), Labels: map[string]string{}}
	for pair := range strings.SplitSeq(string(fleet.Labels), ",") {
		k, v, _ := strings.Cut(pair, "=")
		id.Labels[k] = v
	}
	o := proxy.Options{
		Bootstrap: bootstrap.Told(id.Node(), bootstrap.XDS{Address: "weft", Plaintext: true}),
		Dial:      server.dial, Log: log, Version: Version(), DrainTime: f.drain,
	}
	if f.admin != "" {
		var err error
		if o.Admin, err = netip.ParseAddrPort(f.admin); err != nil {
			return badUsage("--admin-address %q: want ADDRESS:PORT", f.admin)
		}
	}
	p, err := proxy.New(o)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.Run(ctx) })
	group.Go(func() error { tellListeners(ctx, out, p); return nil })
	return group.Wait()
}

// tellListeners says what is listened on, whenever it is something else.
func tellListeners(ctx context.Context, out io.Writer, p *proxy.Proxy) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var said []string
	for {
		var now []string
		for _, l := range p.Server().Listeners() {
			now = append(now, describeListener(l)...)
		}
		for _, line := range now {
			if !slices.Contains(said, line) {
				fmt.Fprintln(out, line)
			}
		}
		for _, line := range said {
			if !slices.Contains(now, line) {
				fmt.Fprintln(out, "no longer", line)
			}
		}
		said = now
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func describeListener(l server.ListenerState) (lines []string) {
	_, declared, _ := strings.Cut(l.Name, "_")
	if l.Error != "" {
		return []string{fmt.Sprintf("not listening for port %s: %s", declared, l.Error)}
	}
	for _, a := range l.Addresses {
		lines = append(lines, fmt.Sprintf("listening on %v for port %s", a, declared))
	}
	return lines
}

// tellFindings logs what is wrong with objects, each thing once while it lasts.
func tellFindings(ctx context.Context, w *world) {
	if w.store.Wait(ctx) != nil {
		return
	}
	said := map[finding.Object][]finding.Finding{}
	feed := w.store.DB().NewFeed()
	defer w.store.DB().FollowFindings(feed, func(d derive.Delta[finding.Object, []finding.Finding]) {
		for _, f := range d.Value {
			if f.Severity >= finding.Warning && !slices.Contains(said[d.Key], f) {
				w.log.Warn("finding", "object", f.Object.String(), "field", f.Field, "severity", f.Severity.String(), "code", f.Code, "message", f.Message)
			}
		}
		said[d.Key] = d.Value
		if d.Gone {
			delete(said, d.Key)
		}
	})()
	for {
		select {
		case <-ctx.Done():
			return
		case <-feed.Wake():
			feed.Drain()
		case <-w.folder.Changed():
			for _, f := range w.folder.Findings() {
				w.log.Warn("finding", "object", f.Object.String(), "field", f.Field, "severity", f.Severity.String(), "code", f.Code, "message", f.Message)
			}
		}
	}
}

// parsePorts reads "80=8080" and gives the port to listen on for one that is declared; those that are not named stay as they are.
func parsePorts(pairs []string) (func(uint16) uint16, error) {
	ports := map[uint16]uint16{}
	for _, pair := range pairs {
		from, to, ok := strings.Cut(pair, "=")
		a, err1 := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if !ok || err1 != nil || err2 != nil || a == 0 || b == 0 {
			return nil, badUsage("--port %q: want DECLARED=LISTEN, as in 80=8080", pair)
		}
		ports[uint16(a)] = uint16(b)
	}
	return func(declared uint16) uint16 {
		if p, ok := ports[declared]; ok {
			return p
		}
		return declared
	}, nil
}

// pipe is a listener inside the process.
type pipe struct {
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

func newPipe() *pipe { return &pipe{connections: make(chan net.Conn), closed: make(chan struct{})} }

// Accept waits for the next dial.
func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.connections:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Closing twice does no harm.
func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr names the listener.
func (p *pipe) Addr() net.Addr { return &net.UnixAddr{Name: "weft", Net: "pipe"} }

func (p *pipe) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.connections <- there:
		return here, nil
	case <-p.closed:
		return nil, errors.New("the server in this process has ended")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
