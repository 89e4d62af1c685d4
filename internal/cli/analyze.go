package cli

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

func analyzeCommand(g *globals) *cobra.Command {
	manifests, gateway, domain, output := "", "", "cluster.local", "text"
	cmd := &cobra.Command{
		Use:   "analyze",
		Short: "Say what is wrong or doubtful with Services, Ingresses and Istio's objects, before or after they are applied",
		Long: `Reads objects, puts them together as gateways would have them, and lists everything that is wrong or doubtful: fields that do not exist, names that
lead nowhere, hosts and paths that somebody else has, certificates that cannot be used.

Exit code 3 means that there are findings of severity error.`,
		Example: `  weft analyze -f manifests/
  weft analyze -o json | jq '.findings[] | select(.severity == "error")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fleet, err := parseFleet(gateway, g.system)
			if err != nil {
				return err
			}
			return lookAt(cmd.Context(), g, manifests, domain, func(w *world, t traffic, findings []finding.Finding) error {
				report := analysis{Findings: append(findings, analyze(w, t, fleet, time.Now())...)}
				slices.SortFunc(report.Findings, finding.Compare)
				report.Findings = slices.Compact(report.Findings)
				if err := render(cmd.OutOrStdout(), output, report, report.print); err != nil {
					return err
				}
				if hasError(report.Findings) {
					return exitError(exitFindings)
				}
				return nil
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&manifests, "folder", "f", "", "read manifests, a file or a folder, instead of asking an API server")
	fs.StringVar(&gateway, "gateway", "", "namespace of the gateways' Pods, or NAMESPACE/LABEL=VALUE,... of one gateway (default: weft's own)")
	fs.StringVar(&domain, "cluster-domain", domain, "the cluster's DNS domain")
	fs.StringVarP(&output, "output", "o", output, outputHelp)
	return cmd
}

// analysis is what analyze has to say.
type analysis struct {
	Findings []finding.Finding `json:"findings"`
}

func (a analysis) print(w io.Writer) error {
	if len(a.Findings) == 0 {
		_, err := fmt.Fprintln(w, "No findings.")
		return err
	}
	for _, f := range a.Findings {
		if _, err := fmt.Fprintln(w, f); err != nil {
			return err
		}
	}
	return nil
}

// analyze asks for everything that objects come to, and gives what was found on the way.
func analyze(w *world, t traffic, fleet model.Fleet, now time.Time) (out []finding.Finding) {
	for _, k := range w.model.ListServices() {
		w.model.Services.Read(k)
		w.model.Endpoints.Read(k)
	}
	for _, f := range append(fleets(w, fleet.Namespace), fleet) {
		everything(t.edge, f)
		out = append(out, t.edge.Expired(f, now)...)
	}
	// What routes say to sidecars is looked at with the eyes of the namespace that declares the host.
	namespaces := map[string]bool{}
	for _, k := range w.model.ListServices() {
		namespaces[k.Namespace] = true
	}
	for namespace := range namespaces {
		for _, h := range t.mesh.Hosts.Read(namespace) {
			for _, p := range h.Ports {
				t.mesh.Tables.Read(compose.MeshTableKey{Namespace: namespace, Port: p.Port, Host: h.Host})
			}
		}
	}
	return append(out, w.findings()...)
}
