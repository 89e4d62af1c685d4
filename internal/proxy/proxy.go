// Package proxy is the L7 data plane as one value: what it starts with, where its configuration comes from, what it serves, and how it ends.
//
// It puts the packages below it together and owns the order of starting and ending. It imports nothing of weft outside of this folder, so it runs
// under any xDS v3 server, or with a file of Envoy's.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy/admin"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/footprint"
	"github.com/weftmesh/weft/internal/proxy/peer"
	"github.com/weftmesh/weft/internal/proxy/server"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// Options are what a proxy runs with. Only Bootstrap is required.
type Options struct {
	Bootstrap *bootstrap.Config
	// Dial replaces connecting to the xDS server, for one in this process.
	Dial func(context.Context) (net.Conn, error)
	// Secrets, if not nil, makes Secrets in this process: what resources name with an sds_config that is not ads. It runs as long as the proxy, and calls
	// set for each that is new; an error says that the proxy refused it and keeps what it had. It returns when ctx is done.
	Secrets func(ctx context.Context, set func(*tlsv3.Secret) error)
	// Directory is where the last good configuration is kept; "" is nowhere.
	Directory string

	// Admin, Metrics and Health are where those are served; not valid is nowhere. Port 0 is one that the kernel chooses.
	Admin, Metrics, Health netip.AddrPort
	// Quit is called by POST /quitquitquit; nil refuses it.
	Quit func()
	// Ready says whether what else is needed beside configuration is there; nil is that nothing is.
	Ready func() bool
	// Collect is asked for more each time metrics are read; nil has nothing.
	Collect func(*stats.Text)

	Log *slog.Logger // nil logs nothing
	// Level, if the log has one that can be changed, is what /logging changes.
	Level          *slog.LevelVar
	Version        string
	Stdout, Stderr io.Writer // for access logs; nil is the process's

	// DrainTime is how long connections have to end when Run's context is done (30 s; negative ends them at once). ListenerDrain is the same for
	// connections whose filter chain was replaced (10 min), WarmTimeout how long a listener waits for what it needs (15 s).
	DrainTime, ListenerDrain, WarmTimeout time.Duration
	// MinimumDrain is for how long new connections are taken after Run's context is done, though none may be left: those of who was not told yet, and of an
	// application that is still about to end. It is over at once if the context's cause is ErrQuit.
	MinimumDrain time.Duration
	// OwnProcess says that nothing else is in the process: once it has started, what only that needed of its memory is given back.
	OwnProcess bool
}

// settleAfter is when starting is over, counted from when the proxy is ready.
const settleAfter = 10 * time.Second

// ErrQuit is the cause of a context that ends because somebody who knows asked for it: nobody will want this proxy any more.
var ErrQuit = errors.New("asked to quit")

// Proxy is a data plane. Make it with New, and Run it once.
type Proxy struct {
	options Options
	log     *slog.Logger
	stats   *stats.Registry
	server  *server.Server
	xds     *xdsclient.Client
	admin   *admin.Admin
	ready   atomic.Bool
	warm    chan struct{}
	closed  sync.Once
}

// New makes a proxy and compiles its static configuration; the error names what is refused. Sockets of listeners without RDS may be open
// when it returns. Run must be called, or Close.
func New(o Options) (*Proxy, error) {
	if o.Bootstrap == nil {
		return nil, errors.New("proxy: no bootstrap")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.DrainTime == 0 {
		o.DrainTime = 30 * time.Second
	}
	if !o.Admin.IsValid() {
		o.Admin = o.Bootstrap.Admin
	}
	p := &Proxy{options: o, log: o.Log, stats: stats.New(peer.Of(o.Bootstrap.Node.GetMetadata())), warm: make(chan struct{})}
	p.server = server.New(server.Options{
		Log: o.Log, Stats: p.stats, Node: o.Bootstrap.Node, Stdout: o.Stdout, Stderr: o.Stderr, ListenerDrain: o.ListenerDrain, WarmTimeout: o.WarmTimeout,
	})
	if o.Collect != nil {
		p.stats.Collect(o.Collect)
	}
	if err := p.start(); err != nil {
		p.server.Close()
		return nil, err
	}
	return p, nil
}

func (p *Proxy) start() (err error) {
	o := &p.options
	if o.Bootstrap.XDS != nil {
		p.xds, err = xdsclient.New(xdsclient.Config{
			Node: o.Bootstrap.Node, Server: o.Bootstrap.XDS, Dial: o.Dial, Directory: o.Directory, Log: o.Log,
		}, p.server)
		if err != nil {
			return err
		}
		p.server.Follow(p.xds)
	}
	if err := p.server.Static(o.Bootstrap); err != nil {
		return fmt.Errorf("static_resources: %w", err)
	}
	p.admin, err = admin.New(admin.Options{
		Server: p.server, XDS: p.xds, Bootstrap: o.Bootstrap, Stats: p.stats, Ready: p.Ready, Version: o.Version, Level: o.Level, Quit: o.Quit,
		Admin: o.Admin, Metrics: o.Metrics, Health: o.Health, Log: o.Log,
	})
	return err
}

// Run serves until ctx is done, then drains: it is no longer ready, connections are asked to end, and what is left after DrainTime is cut off. The
// error is nil in that case.
func (p *Proxy) Run(ctx context.Context) error {
	var running sync.WaitGroup
	fetching, stop := context.WithCancel(context.Background())
	defer func() {
		stop()
		running.Wait()
		p.Close()
	}()
	running.Go(func() { p.admin.Run() })
	if p.xds != nil {
		running.Go(func() { _ = p.xds.Run(fetching) })
	}
	if p.options.Secrets != nil {
		running.Go(func() { p.options.Secrets(fetching, p.server.SetSecret) })
	}
	running.Go(func() {
		if p.server.Warm(fetching) == nil {
			p.ready.Store(true)
			close(p.warm)
		}
	})
	if p.options.OwnProcess {
		running.Go(func() { p.settle(fetching) })
	}
	<-ctx.Done()
	p.log.Info("draining", "at_most", p.options.DrainTime)
	p.ready.Store(false)
	limited, cancel := context.WithTimeout(context.Background(), max(0, p.options.DrainTime))
	defer cancel()
	if p.options.MinimumDrain > 0 && !errors.Is(context.Cause(ctx), ErrQuit) {
		p.server.StartDrain()
		select {
		case <-time.After(p.options.MinimumDrain):
		case <-limited.Done():
		}
	}
	p.server.Drain(limited)
	p.admin.Close()
	return nil
}

// settle gives memory back when starting is over.
func (p *Proxy) settle(ctx context.Context) {
	select {
	case <-p.warm:
	case <-ctx.Done():
		return
	}
	select {
	case <-time.After(settleAfter):
		footprint.Settle()
	case <-ctx.Done():
	}
}

// Close ends everything at once. Run does it as well; calling it twice does no harm.
func (p *Proxy) Close() {
	p.closed.Do(func() {
		p.admin.Close()
		p.server.Close()
	})
}

// Ready tells whether the first configuration is in force and the proxy is not about to end.
func (p *Proxy) Ready() bool {
	return p.ready.Load() && !p.server.Draining() && (p.options.Ready == nil || p.options.Ready())
}

// Warm is closed when the proxy became ready for the first time.
func (p *Proxy) Warm() <-chan struct{} { return p.warm }

// Server is the data plane itself: its listeners with the addresses that are bound, and its clusters.
func (p *Proxy) Server() *server.Server { return p.server }

// Admin is the admin endpoint, with the addresses that are bound.
func (p *Proxy) Admin() *admin.Admin { return p.admin }

// XDS is the client of the xDS server; nil if there is none.
func (p *Proxy) XDS() *xdsclient.Client { return p.xds }
