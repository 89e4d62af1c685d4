package agent

import (
	"context"
	"net/http"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/agent/credential"
	"github.com/weftmesh/weft/internal/proxy/agent/sds"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
)

// own is weft's proxy in this process.
type own struct{ *proxy.Proxy }

// Metrics implements carrier.
func (o own) Metrics() http.Handler { return o.Admin().MetricsHandler() }

// Health implements carrier.
func (o own) Health() http.Handler { return o.Admin().HealthHandler() }

// own makes weft's proxy. It is given the credential as values, so that its key is in no other process.
func (a *agent) own() (carrier, error) {
	told := bootstrap.Told
	if a.o.Sidecar {
		told = bootstrap.ToldSidecar
	}
	p, err := proxy.New(proxy.Options{
		OwnProcess: true, Bootstrap: told(a.o.Node, a.o.Control), Directory: a.o.Directory, Secrets: a.secrets, Ready: a.certified, Collect: a.collect, Quit: a.quits,
		Admin: a.o.Admin, DrainTime: a.o.Drain, MinimumDrain: a.o.MinimumDrain,
		Log: a.log, Level: a.o.Level, Version: a.o.Version, Stdout: a.o.Stdout, Stderr: a.o.Stderr,
	})
	if err != nil {
		return nil, err
	}
	return own{p}, nil
}

func (a *agent) secrets(ctx context.Context, set func(*tlsv3.Secret) error) {
	a.source.Follow(ctx, func(c *credential.Credential) {
		for _, m := range sds.Secrets(c) {
			if err := set(m); err != nil {
				a.log.Error("the proxy does not take a Secret of the Pod", "secret", m.GetName(), "error", err)
			}
		}
	})
}
