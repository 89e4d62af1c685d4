package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/proxy/agent"
	"github.com/weftmesh/weft/internal/proxy/agent/probe"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
)

type agentFlags struct {
	kind                   string
	ca, control            string
	serverName             string
	token, root            string
	state, sds, xds        string
	envoy                  string
	envoyArgs              []string
	admin, metrics, health string
	envoyMetrics           string
	life                   time.Duration
	drain, minimum         time.Duration
	patient                bool
	podLabels              string
	identity               bootstrap.Identity
	level                  slog.LevelVar
}

// NewAgent makes the command that runs in a Pod of a mesh.
func NewAgent(name, version string) *cobra.Command {
	f := &agentFlags{identity: bootstrap.Identity{Version: version}}
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Carry a Pod's connections in a mesh",
		Long: `Runs in a Pod of a mesh: gets the Pod's certificate for its service account's token and renews it, and runs the proxy with it, weft's own in this
process or stock Envoy (--envoy). It answers the kubelet's probes for the application (/app-health/ on port 15020), and metrics, the application's among
them.

In a Pod with weft's sidecar everything is known from the environment and from the files that are mounted, so that no flag is needed.
SIGTERM drains it: it is no longer ready, and goes when its connections have ended. POST /quitquitquit on port 15020 from the same Pod ends it as well.`,
		Example: `  ` + name + ` agent
  ` + name + ` agent --kind router --ca weft-control.weft-system.svc:15012
  ` + name + ` agent --envoy /usr/local/bin/envoy`,
		Args:         cobra.NoArgs,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd, version) },
	}
	return f.define(cmd)
}

// define gives a command the flags.
func (f *agentFlags) define(cmd *cobra.Command) *cobra.Command {
	fs := cmd.Flags()
	fs.StringVar(&f.kind, "kind", "sidecar", "sidecar or router, which is a gateway")
	fs.StringVar(&f.ca, "ca", "", "where certificates are asked for, host:port (default: $CA_ADDR, then weft-control.weft-system.svc:15012)")
	fs.StringVar(&f.control, "xds", "", "xDS server that configuration comes from (default: that of --ca)")
	fs.StringVar(&f.serverName, "server-name", "", "name in the certificate of both (default: their host)")
	fs.StringVar(&f.token, "token-file", "/var/run/secrets/tokens/istio-token", "token to show to both; read anew each time")
	fs.StringVar(&f.root, "ca-file", "/var/run/secrets/istio/root-cert.pem", "the roots of the mesh; read anew each time, and watched")
	fs.StringVar(&f.state, "state-dir", "/var/lib/weft", "where the last good configuration, the certificate and its key are kept for a container that starts again: in memory, and of this Pod alone; empty: nowhere")
	fs.StringVar(&f.sds, "sds-socket", "/var/run/secrets/workload-spiffe-uds/socket", "Unix socket that the certificate is served on to the same user's processes; empty: nowhere")
	fs.StringVar(&f.xds, "xds-socket", "", "Unix socket that Envoy asks for its configuration (default: xds.sock in --state-dir)")
	fs.StringVar(&f.envoy, "envoy", "", "run this Envoy instead of weft's own proxy")
	fs.StringSliceVar(&f.envoyArgs, "envoy-args", nil, "arguments of Envoy beside those it gets anyway")
	fs.StringVar(&f.envoyMetrics, "envoy-metrics-address", ":15090", "address at which Envoy shows its own metrics; none for none")
	fs.StringVar(&f.admin, "admin-address", "127.0.0.1:15000", "address of the admin endpoint; none for none")
	fs.StringVar(&f.metrics, "metrics-address", ":15020", "address of /stats/prometheus and the application's probes; none for none")
	fs.StringVar(&f.health, "health-address", ":15021", "address of /healthz/ready; none for none")
	fs.DurationVar(&f.life, "certificate-life", 0, "how long certificates are asked to be good (default: $SECRET_TTL, then what the authority gives)")
	fs.DurationVar(&f.drain, "drain-time", 30*time.Second, "how long connections have to end after SIGTERM")
	fs.DurationVar(&f.minimum, "minimum-drain", 0, "for how long new connections are taken after SIGTERM (default: $MINIMUM_DRAIN_DURATION, then 5s)")
	fs.BoolVar(&f.patient, "exit-on-zero-active-connections", false, "wait for connections to end however long they take (default: $EXIT_ON_ZERO_ACTIVE_CONNECTIONS)")
	fs.StringVar(&f.podLabels, "labels-file", "/etc/istio/pod/labels", "labels of the Pod, as the downward API writes them; may be missing")
	fs.StringVar(&f.identity.Cluster, "workload", "", "name of the workload (default: $ISTIO_META_WORKLOAD_NAME)")
	fs.TextVar(&f.level, "log-level", &f.level, "DEBUG, INFO, WARN or ERROR")
	return cmd
}

func (f *agentFlags) run(ctx context.Context, cmd *cobra.Command, version string) error {
	o, err := f.options(os.Getenv)
	if err != nil {
		return errors.Join(ErrUsage, err)
	}
	o.Version, o.Stdout, o.Stderr, o.Level = version, cmd.OutOrStdout(), cmd.ErrOrStderr(), &f.level
	o.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: &f.level}))
	o.Log.Info("running", "version", version, "node", o.Node.GetId(), "control", o.Control.Address, "certificates", o.CA.Address, "envoy", f.envoy)
	return agent.Run(ctx, o)
}

// options puts together what flags, environment and files say. Flags come first.
func (f *agentFlags) options(env func(string) string) (o agent.Options, err error) {
	if f.kind != "sidecar" && f.kind != "router" {
		return o, fmt.Errorf("--kind %q: want sidecar or router", f.kind)
	}
	f.ca = firstOf(f.ca, env("CA_ADDR"), "weft-control.weft-system.svc:15012")
	server := bootstrap.XDS{Address: f.ca, ServerName: f.serverName, CAFile: f.root, TokenFile: f.token}
	o = agent.Options{
		CA: server, Control: server, RootFile: f.root, Directory: f.state, SDSSocket: f.sds, XDSSocket: f.xds, Probers: env(probe.Env), Scrape: env(probe.MetricsEnv),
		Envoy: f.envoy, EnvoyArguments: f.envoyArgs, Sidecar: f.kind == "sidecar", CertificateLife: f.life, Drain: f.drain, MinimumDrain: f.minimum,
	}
	o.Control.Address = firstOf(f.control, f.ca)
	if o.XDSSocket == "" && f.state != "" {
		o.XDSSocket = f.state + "/xds.sock"
	}
	for _, d := range []struct {
		to       *time.Duration
		name     string
		standard time.Duration
	}{{&o.CertificateLife, "SECRET_TTL", 0}, {&o.MinimumDrain, "MINIMUM_DRAIN_DURATION", 5 * time.Second}} {
		text := env(d.name)
		switch {
		case *d.to != 0:
		case text == "":
			*d.to = d.standard
		default:
			if *d.to, err = time.ParseDuration(text); err != nil {
				return o, fmt.Errorf("environment variable %s: %w", d.name, err)
			}
		}
	}
	if text := env("EXIT_ON_ZERO_ACTIVE_CONNECTIONS"); text != "" && !f.patient {
		if f.patient, err = strconv.ParseBool(text); err != nil {
			return o, fmt.Errorf("environment variable EXIT_ON_ZERO_ACTIVE_CONNECTIONS: %w", err)
		}
	}
	if f.patient {
		o.Drain = 24 * time.Hour // the kubelet ends it before
	}
	for _, a := range []struct {
		to         *netip.AddrPort
		text, flag string
	}{{&o.Admin, f.admin, "admin-address"}, {&o.Metrics, f.metrics, "metrics-address"}, {&o.Health, f.health, "health-address"}, {&o.EnvoyMetrics, f.envoyMetrics, "envoy-metrics-address"}} {
		if *a.to, err = address(a.text); err != nil {
			return o, fmt.Errorf("--%s: %w", a.flag, err)
		}
	}
	f.identity.Kind, f.identity.Cluster = f.kind, firstOf(f.identity.Cluster, env("ISTIO_META_WORKLOAD_NAME"))
	if f.identity.Labels, err = f.labels(env); err != nil {
		return o, err
	}
	id := f.identity.FromEnvironment()
	o.Node, o.Namespace, o.ServiceAccount = id.Node(), id.Namespace, id.ServiceAccount
	if id.Address != "" {
		if o.Address, err = netip.ParseAddr(id.Address); err != nil {
			return o, fmt.Errorf("environment variable INSTANCE_IP: %w", err)
		}
	}
	describe(o.Node, os.Environ())
	return o, nil
}

// describe adds to a node's metadata what the environment says of it in Istio's way. Metrics carry it; control believes none of it.
func describe(n *corev3.Node, environ []string) {
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if key, ok := strings.CutPrefix(name, "ISTIO_META_"); ok && key != "" {
			n.Metadata.Fields[key] = structpb.NewStringValue(strings.ToValidUTF8(value, "?"))
		}
	}
}

// labels are the Pod's: those of the variable ISTIO_METAJSON_LABELS, and of the file.
func (f *agentFlags) labels(env func(string) string) (map[string]string, error) {
	labels := map[string]string{}
	if text := env("ISTIO_METAJSON_LABELS"); text != "" {
		if err := json.Unmarshal([]byte(text), &labels); err != nil {
			return nil, fmt.Errorf("environment variable ISTIO_METAJSON_LABELS: %w", err)
		}
	}
	text, err := os.ReadFile(f.podLabels)
	if errors.Is(err, os.ErrNotExist) || f.podLabels == "" {
		return labels, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--labels-file: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		key, quoted, _ := strings.Cut(strings.TrimSpace(line), "=")
		if value, err := strconv.Unquote(quoted); err == nil && key != "" { // as kubelets write it; what is otherwise is no label
			labels[key] = value
		}
	}
	return labels, nil
}

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
