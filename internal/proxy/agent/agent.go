package agent

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/agent/credential"
	"github.com/weftmesh/weft/internal/proxy/agent/probe"
	"github.com/weftmesh/weft/internal/proxy/agent/sds"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/istioca"
	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/uplink"
)

// Options are what an agent runs with. Node, Control and CA are needed.
type Options struct {
	Node    *corev3.Node
	Sidecar bool          // the Pod is an application's, and no gateway
	Control bootstrap.XDS // where configuration comes from
	CA      bootstrap.XDS // where certificates come from

	// Namespace and ServiceAccount are those of the Pod, for which alone a certificate is taken; "" is not known. Address is the Pod's.
	Namespace, ServiceAccount string
	Address                   netip.Addr

	CertificateLife time.Duration // that is asked for; 0 leaves it to the authority
	RootFile        string        // where the roots of the mesh are published to the Pod
	Directory       string        // where what a container that starts again needs is kept; "" is nowhere
	SDSSocket       string        // where Secrets are served to other processes of the same user; "" is nowhere
	XDSSocket       string        // where Envoy asks for its configuration
	Probers         string        // the application's probes, see [probe.Env]
	Scrape          string        // where the application's metrics are, see [probe.MetricsEnv]

	// Envoy is the program to run in place of weft's own proxy, "" for none; EnvoyArguments are added to those it gets anyway.
	Envoy          string
	EnvoyArguments []string
	EnvoyMetrics   netip.AddrPort // where Envoy shows its own metrics; not valid is nowhere

	// Admin, Metrics and Health are where those are served; not valid is nowhere.
	Admin, Metrics, Health netip.AddrPort

	// Drain is how long connections have to end when Run's context is done, MinimumDrain for how long new ones are taken then whatever is left.
	Drain, MinimumDrain time.Duration

	Log            *slog.Logger // nil logs nothing
	Level          *slog.LevelVar
	Version        string
	Stdout, Stderr io.Writer // of access logs and of Envoy
}

// agent is one that runs.
type agent struct {
	o      Options
	log    *slog.Logger
	source *credential.Source
	probes *probe.Handler
	quit   context.CancelCauseFunc
}

// carrier is the proxy of an agent.
type carrier interface {
	// Run serves until ctx ends, and drains then. Its end before that is an error.
	Run(ctx context.Context) error
	// Metrics answers whoever asks for metrics and readiness, Health those who ask for readiness alone.
	Metrics() http.Handler
	Health() http.Handler
	// Close ends it at once. After Run it does nothing.
	Close()
}

// Run carries a Pod's connections until ctx is done, then lets them end. The error is about what could not begin, or ended before its time.
func Run(ctx context.Context, o Options) error {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	ctx, quit := context.WithCancelCause(ctx)
	defer quit(nil)
	a := &agent{o: o, log: o.Log, quit: quit}
	var err error
	if a.probes, err = probe.New(o.Probers, o.Address, o.Metrics.Port(), o.Log); err != nil {
		return err
	}
	if err := a.probes.Scrape(o.Scrape); err != nil {
		return err
	}
	if err := uplink.Check(&o.CA, false); err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	a.source = credential.New(credential.Options{
		Ask: a.ask, Life: o.CertificateLife, Namespace: o.Namespace, ServiceAccount: o.ServiceAccount, RootFile: o.RootFile, File: a.file("credential.json"), Log: o.Log,
	})
	var p carrier
	if o.Envoy != "" {
		p, err = a.stock()
	} else {
		p, err = a.own()
	}
	if err != nil {
		return err
	}
	return a.run(ctx, p)
}

func (a *agent) file(name string) string {
	if a.o.Directory == "" {
		return ""
	}
	return filepath.Join(a.o.Directory, name)
}

// run begins everything and waits for its end. What the proxy needs outlives it, so that it can drain.
func (a *agent) run(ctx context.Context, p carrier) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	defer p.Close()
	ports, err := a.ports(ctx, p)
	if err != nil {
		return err
	}
	for _, one := range ports {
		running.Go(func() { one.serve(serving, a.log) })
	}
	running.Go(func() { a.source.Run(serving) })
	if err := a.serveSecrets(serving, &running); err != nil {
		return err
	}
	return p.Run(ctx)
}

// serveSecrets offers the credential on its socket. Only a proxy in another process needs that.
func (a *agent) serveSecrets(ctx context.Context, running *sync.WaitGroup) error {
	if a.o.SDSSocket == "" {
		return nil
	}
	l, err := sds.Listen(ctx, a.o.SDSSocket)
	if err != nil {
		if a.o.Envoy == "" {
			a.log.Warn("the certificate is not served to other processes of the Pod", "error", err)
			return nil
		}
		return fmt.Errorf("socket for secrets: %w", err)
	}
	running.Go(func() {
		if err := sds.New(a.source, a.log).Serve(ctx, l); err != nil {
			a.log.Error("the certificate is not served any more", "error", err)
		}
	})
	return nil
}

// ask gets a certificate from the authority, over a connection of its own: root and token are read anew.
func (a *agent) ask(ctx context.Context, request string, life time.Duration) ([]string, error) {
	conn, err := uplink.Dial(&a.o.CA, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	answer, err := istioca.Call(ctx, conn, &istioca.Request{CSR: request, ValiditySeconds: int64(life / time.Second)})
	if err != nil {
		return nil, err
	}
	return answer.Chain, nil
}

// certified tells whether there is a certificate.
func (a *agent) certified() bool {
	c, _ := a.source.Current()
	return c != nil
}

// collect adds what there is to know of the certificate to a proxy's metrics.
func (a *agent) collect(t *stats.Text) {
	s := a.source.Status()
	until := int64(0)
	if !s.Until.IsZero() {
		until = s.Until.Unix()
	}
	t.Gauge("weft_agent_certificate_expiry_timestamp_seconds", "When the Pod's certificate ends; 0 if there is none.", until)
	t.Counter("weft_agent_certificates_total", "Certificates that the Pod was given.", s.Renewals)
	t.Counter("weft_agent_certificate_failures_total", "Requests for a certificate that failed.", s.Failures)
	if failures, asked := a.probes.ScrapeFailures(); asked {
		t.Counter("istio_agent_scrape_failures_total", "Times that the application's metrics could not be shown beside the proxy's, or not all of them.", failures,
			stats.Label{Name: "type", Value: "application"})
	}
}

// quits is called by who knows that nobody needs the Pod's proxy any more.
func (a *agent) quits() { a.quit(proxy.ErrQuit) }

// listen opens a TCP socket; nil if it is to be nowhere.
func listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	if !at.IsValid() {
		return nil, nil
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", at.String())
}
