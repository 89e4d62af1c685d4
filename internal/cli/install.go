package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/install"
	"github.com/weftmesh/weft/internal/kube"
)

func installCommand(g *globals) *cobra.Command {
	o := install.Options{}
	tracing := tracingFlags{}
	dryRun, wait, pull := false, 5*time.Minute, string(corev1.PullIfNotPresent)
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install weft into the cluster, or bring an installation up to date",
		Long: `Applies everything that weft is made of, node first, then DNS, then control, then the gateway, and waits for each. What the flags leave open is asked of
the cluster: the API servers' own addresses, the ranges of Services, the address of cluster DNS.

Each component can be installed alone, beside what the cluster runs today. Applying the same again changes nothing. With control come the
definitions of Istio's networking kinds (networking.istio.io), each only if nobody else has installed it.`,
		Example: `  weft install --image example.org/weft:v1 --cluster-cidr 10.244.0.0/16 --lb-pool 192.0.2.100-192.0.2.199
  weft install --image example.org/weft:v1 --components dns --replace-dns
  weft install --image example.org/weft:v1 --cluster-cidr 10.244.0.0/16 --access-log --tracing-otlp jaeger.telemetry:4317
  weft install --image example.org/weft:v1 --cluster-cidr 10.244.0.0/16 --dry-run > weft.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("tracing-sampling") {
				o.TracingSampling = &tracing.percent
			}
			o.TracingOTLP = tracing.otlp
			o.Namespace, o.PullPolicy, o.LogLevel = g.system, corev1.PullPolicy(pull), g.logLevel.String()
			installer, err := newInstaller(g, func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) })
			if err != nil {
				return err
			}
			ctx, stop := context.WithTimeout(cmd.Context(), wait)
			defer stop()
			if o, err = installer.Discover(ctx, o); err != nil {
				return err
			}
			if !dryRun {
				return installer.Apply(ctx, o)
			}
			objects, err := install.Manifests(o)
			if err != nil {
				return err
			}
			text, err := install.Render(objects)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.Image, "image", "", "image of weft (needed)")
	fs.StringVar(&pull, "image-pull-policy", pull, "Always, IfNotPresent or Never")
	fs.StringSliceVar(&o.Components, "components", nil, "what to install: node, dns, control, gateway (default: all)")
	fs.StringSliceVar(&o.APIServers, "api-server", nil, "addresses of the API servers that work without a Service proxy (default: as the cluster says)")
	fs.StringSliceVar(&o.ClusterCIDRs, "cluster-cidr", nil, "address ranges of Pods; what comes from elsewhere to a ClusterIP is masqueraded")
	fs.StringSliceVar(&o.ServiceCIDRs, "service-cidr", nil, "address ranges of Services (default: as the cluster says)")
	fs.StringVar(&o.ClusterDomain, "cluster-domain", "", "the cluster's DNS domain (default cluster.local)")
	fs.StringSliceVar(&o.ClusterDNS, "cluster-dns", nil, "addresses that Pods ask for names (default: as the cluster says)")
	fs.StringSliceVar(&o.DNSForward, "dns-forward", nil, "resolvers for names outside the cluster, ADDRESS[:PORT] (default: those of the node)")
	fs.Int32Var(&o.DNSReplicas, "dns-replicas", 0, "replicas of DNS (default 2)")
	fs.BoolVar(&o.ReplaceDNS, "replace-dns", false, "take over the Service kube-system/kube-dns though somebody else made it")
	fs.StringSliceVar(&o.LBPools, "lb-pool", nil, "addresses for LoadBalancer Services: FIRST-LAST, a prefix or one address (default: none are given out)")
	fs.StringVar(&o.OutboundPolicy, "outbound-policy", install.OutboundAllowAny, outboundHelp)
	fs.BoolVar(&o.AccessLog, "access-log", false, sidecarLogHelp)
	tracing.define(fs)
	fs.Int32Var(&o.ControlReplicas, "control-replicas", 0, "replicas of control (default 2)")
	fs.Int32Var(&o.GatewayReplicas, "gateway-replicas", 0, "replicas of the gateway (default 2)")
	fs.BoolVar(&dryRun, "dry-run", false, "print what would be applied, as YAML")
	fs.DurationVar(&wait, "timeout", wait, "how long to wait for everything to be ready")
	return cmd
}

func uninstallCommand(g *globals) *cobra.Command {
	wait := 2 * time.Minute
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove weft from the cluster",
		Long: `Removes everything that weft install applied, but for the definitions of Istio's kinds, with which all that is declared by them would go.
What nodes have in their kernels goes on carrying until they are rebooted or another Service proxy takes over.`,
		Example: "  weft uninstall",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			installer, err := newInstaller(g, func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) })
			if err != nil {
				return err
			}
			ctx, stop := context.WithTimeout(cmd.Context(), wait)
			defer stop()
			return installer.Uninstall(ctx, g.system)
		},
	}
	cmd.Flags().DurationVar(&wait, "timeout", wait, "how long to wait until everything is gone")
	return cmd
}

func newInstaller(g *globals, progress func(string)) (*install.Installer, error) {
	config, err := kube.Config(kube.ClientOptions{Component: "install", Version: Version(), Kubeconfig: g.kubeconfig, Context: g.context})
	if err != nil {
		return nil, err
	}
	return install.New(config, progress)
}
