package cli

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/convert"
	"github.com/weftmesh/weft/internal/kube"
)

func convertIngressCommand(g *globals) *cobra.Command {
	from, gateway, domain := "", "", "cluster.local"
	cmd := &cobra.Command{
		Use:   "convert-ingress",
		Short: "Turn Ingresses of any version into Gateways and VirtualServices",
		Long: `Reads Ingresses (networking.k8s.io/v1, v1beta1 or extensions/v1beta1, of whatever class) and prints Gateways and VirtualServices that mean the same.
Services among the manifests give the numbers of ports that Ingresses name. What cannot be converted is told on standard error.

Exit code 3 means that something has no effect, before or after.`,
		Example: `  weft convert-ingress -f ingress.yaml > gateway.yaml
  kubectl get ingress -A -o yaml | weft convert-ingress -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return badUsage("convert-ingress wants -f FILE, a folder, or - for standard input")
			}
			files, err := manifestsOf(from, cmd.InOrStdin())
			if err != nil {
				return err
			}
			fleet, err := parseFleet(gateway, g.system)
			if err != nil {
				return err
			}
			w := emptyWorld(slog.New(slog.DiscardHandler))
			edge := newEdge(w, domain)
			findings := kube.Load(w.store.Source("manifests"), files, w.tables.Kind.Ingress, w.tables.Kind.Service)
			objects, doubts := convert.Ingresses(edge, fleet)
			for _, f := range w.findings() {
				switch f.Code {
				case "no-such-host", "no-certificate", "secret-not-granted": // neither the Services nor the Secrets need be among the manifests
				default:
					findings = append(findings, f)
				}
			}
			findings = append(findings, doubts...)
			for _, f := range findings {
				fmt.Fprintln(cmd.ErrOrStderr(), f)
			}
			if err := printObjects(cmd.OutOrStdout(), objects); err != nil {
				return err
			}
			if hasError(findings) {
				return exitError(exitFindings)
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&from, "filename", "f", "", "manifest, folder of manifests, or - for standard input")
	fs.StringVar(&gateway, "gateway", "", "namespace of the gateway's Pods, where its Secrets are (default: weft's)")
	fs.StringVar(&domain, "cluster-domain", domain, "the cluster's DNS domain")
	return cmd
}

func manifestsOf(from string, in io.Reader) (map[string][]byte, error) {
	if from != "-" {
		return kube.ReadFiles(from)
	}
	data, err := io.ReadAll(in)
	return map[string][]byte{"standard input": data}, err
}

func printObjects(w io.Writer, objects []convert.Object) error {
	for i, o := range objects {
		b, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		if i > 0 {
			b = append([]byte("---\n"), b...)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}
