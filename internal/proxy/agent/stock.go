package agent

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/agent/envoy"
	"github.com/weftmesh/weft/internal/proxy/agent/relay"
	"github.com/weftmesh/weft/internal/proxy/agent/sds"
	"github.com/weftmesh/weft/internal/proxy/stats"
)

// stock is Envoy with the relay that it gets its configuration through.
type stock struct {
	*envoy.Envoy
	agent *agent
	relay *relay.Relay
}

// stock makes it.
func (a *agent) stock() (carrier, error) {
	counted := stats.New(stats.Workload{})
	counted.Collect(a.collect)
	if a.o.Directory != "" {
		if err := os.Mkdir(a.o.Directory, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	e, err := envoy.New(envoy.Options{
		Program: a.o.Envoy, Arguments: a.o.EnvoyArguments, Node: a.o.Node, Directory: a.o.Directory, SDSSocket: a.o.SDSSocket, XDSSocket: a.o.XDSSocket,
		Admin: a.o.Admin, Metrics: a.o.EnvoyMetrics, InboundOnly: a.o.Sidecar, Ready: a.certified, Counted: counted,
		Drain: a.o.Drain, MinimumDrain: a.o.MinimumDrain, Hurry: proxy.ErrQuit, Log: a.log, Stdout: a.o.Stdout, Stderr: a.o.Stderr,
	})
	if err != nil {
		return nil, err
	}
	r, err := relay.New(&a.o.Control, a.log)
	return &stock{e, a, r}, err
}

// Run implements carrier. The relay outlives ctx, so that Envoy hears of changes while it drains.
func (s *stock) Run(ctx context.Context) error {
	l, err := sds.Listen(ctx, s.agent.o.XDSSocket)
	if err != nil {
		return fmt.Errorf("socket for configuration: %w", err)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- s.relay.Serve(serving, l) }()
	err = s.Envoy.Run(ctx)
	stop()
	return errors.Join(err, <-served)
}
