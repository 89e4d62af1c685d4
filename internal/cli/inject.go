package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/inject"
	"github.com/weftmesh/weft/internal/kube"
)

func injectCommand(g *globals) *cobra.Command {
	f := newInjectFlags()
	from := ""
	cmd := &cobra.Command{
		Use:   "inject",
		Short: "Put sidecars into manifests, as the webhook does into Pods",
		Long: `Reads manifests and prints them with weft's sidecar in every Pod that they declare: in Pods, Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs,
CronJobs and lists of these. Other objects are printed as they are. The result is what the webhook would make of the Pods.

A namespace that is not among the manifests is taken to be labelled istio-injection: enabled. Why something stays as it is, is told on
standard error. No cluster is asked.`,
		Example: `  weft inject -f shop.yaml --image example.org/weft:v1 | kubectl apply -f -
  kubectl get deployment web -o yaml | weft inject -f - --image example.org/weft:v1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return badUsage("inject wants -f FILE, a folder, or - for standard input")
			}
			config, err := f.config(g.system)
			if err != nil {
				return err
			}
			files, err := manifestsOf(from, cmd.InOrStdin())
			if err != nil {
				return err
			}
			var docs [][]byte
			for _, name := range slices.Sorted(maps.Keys(files)) {
				of, err := kube.Documents(name, files[name])
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				docs = append(docs, of...)
			}
			out, notes, err := inject.Documents(docs, cmp.Or(g.namespace, corev1.NamespaceDefault), config)
			for _, n := range notes {
				fmt.Fprintln(cmd.ErrOrStderr(), n)
			}
			if err != nil {
				return err
			}
			return printDocuments(cmd.OutOrStdout(), out)
		},
	}
	cmd.Flags().StringVarP(&from, "filename", "f", "", "manifest, folder of manifests, or - for standard input")
	f.add(cmd.Flags(), "")
	cmd.Flags().StringVar(&f.c.Control, "control", "", "where sidecars find control, host:port (default: weft-control in weft's namespace)")
	cmd.Flags().StringVar(&f.c.TrustDomain, "trust-domain", f.c.TrustDomain, "trust domain of the sidecars' identities")
	cmd.Flags().StringVar(&f.c.ClusterDomain, "cluster-domain", f.c.ClusterDomain, "the cluster's DNS domain")
	cmd.Flags().BoolVar(&f.c.NativeSidecars, "native-sidecars", f.c.NativeSidecars, "the cluster has native sidecars (Kubernetes 1.29)")
	return cmd
}

func printDocuments(w io.Writer, docs [][]byte) error {
	for i, d := range docs {
		d = append(bytes.TrimSpace(d), '\n')
		if i > 0 {
			d = append([]byte("---\n"), d...)
		}
		if _, err := w.Write(d); err != nil {
			return err
		}
	}
	return nil
}

// injectFlags say what is the same for all injected Pods.
type injectFlags struct {
	c      inject.Config
	policy string
}

func newInjectFlags() *injectFlags {
	f := &injectFlags{c: inject.Default()}
	f.policy = string(f.c.PullPolicy)
	return f
}

// add makes the flags, their names with a prefix.
func (f *injectFlags) add(fs *pflag.FlagSet, prefix string) {
	fs.StringVar(&f.c.Image, prefix+"image", "", "image of the sidecar")
	fs.StringVar(&f.policy, prefix+"image-pull-policy", f.policy, "of the sidecar's image: Always, IfNotPresent or Never")
	fs.BoolVar(&f.c.RewriteProbers, "rewrite-probes", f.c.RewriteProbers, "probes of applications are asked through the sidecar")
}

// config gives the configuration that the flags say, for weft in a namespace.
func (f *injectFlags) config(system string) (inject.Config, error) {
	c := f.c
	c.System, c.PullPolicy = system, corev1.PullPolicy(f.policy)
	c.Control = cmp.Or(c.Control, "weft-control."+system+".svc:15012")
	if !slices.Contains([]corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever}, c.PullPolicy) {
		return c, badUsage("--image-pull-policy: %q is not one of Always, IfNotPresent, Never", f.policy)
	}
	if c.Image == "" {
		return c, usageError{errors.New("--image: it must name the image of the sidecar")}
	}
	return c, nil
}
