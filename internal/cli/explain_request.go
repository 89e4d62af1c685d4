package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/internal/explain"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// requestFlags are those of an explanation of a request.
type requestFlags struct {
	headers []string
	gateway string
	folder  string
	domain  string
}

func (f *requestFlags) define(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.headers, "header", "H", nil, "header of the request, \"name: value\"; may be given several times")
	fs.StringVar(&f.gateway, "gateway", "", "gateway that the request comes to, as NAMESPACE/LABEL=VALUE,... of its Pods (default: weft's own)")
	fs.StringVarP(&f.folder, "folder", "f", "", "read manifests, a file or a folder, instead of asking an API server")
	fs.StringVar(&f.domain, "cluster-domain", "cluster.local", "the cluster's DNS domain")
}

// explained is a trail, and what it comes to for programs.
type explained struct {
	explain.Trail
	Decision explain.Decision `json:"decision"`
}

func runExplainRequest(ctx context.Context, out io.Writer, g *globals, f requestFlags, from, output, method, url string) error {
	fleet, err := parseFleet(f.gateway, g.system)
	if err != nil {
		return err
	}
	q := explain.RequestQuestion{Method: method, URL: url, Fleet: fleet, Headers: map[string][]string{}}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return badUsage("-H %q: want \"name: value\"", h)
		}
		name = strings.ToLower(strings.TrimSpace(name))
		q.Headers[name] = append(q.Headers[name], strings.TrimSpace(value))
	}
	return lookAt(ctx, g, f.folder, cmp.Or(f.domain, "cluster.local"), func(w *world, t traffic, _ []finding.Finding) error {
		var said explained
		if from == "" {
			said.Trail, said.Decision = explain.Request(t.edge, q)
		} else {
			pod, err := w.podNamed(from)
			if err != nil {
				return err
			}
			said.Trail, said.Decision = explain.RequestFrom(t.mesh, t.edge, w.asking(pod, f.domain), q)
		}
		return render(out, output, said, func(w io.Writer) error { return printTrail(w, said.Trail) })
	})
}

// asking is a Pod that asks for something in the mesh.
func (w *world) asking(pod *model.Workload, domain string) explain.FromPod {
	return explain.FromPod{
		Pod: pod, Domain: cmp.Or(domain, "cluster.local"), Trust: "cluster.local",
		Named: func(n model.ObjectName) *model.Workload { return w.workloads.Pods.Read(store.Key(n)) },
	}
}

// explainConnection says what the sidecar of a Pod does with a connection.
func explainConnection(ctx context.Context, out io.Writer, g *globals, f explainFlags, q explain.ConnectionQuestion) error {
	return lookAt(ctx, g, f.request.folder, cmp.Or(f.request.domain, "cluster.local"), func(w *world, t traffic, _ []finding.Finding) error {
		pod, err := w.podNamed(f.from)
		if err != nil {
			return err
		}
		if !pod.Injected {
			return fmt.Errorf("--from %s: the Pod has no sidecar, and manifests have no node to ask", f.from)
		}
		var said explained
		said.Trail, said.Decision = explain.ConnectionFrom(t.mesh, t.edge, w.asking(pod, f.request.domain), q)
		return render(out, f.output, said, func(w io.Writer) error { return printTrail(w, said.Trail) })
	})
}

// podNamed finds the Pod NAME (of the namespace default) or NAMESPACE/NAME among the objects.
func (w *world) podNamed(ref string) (*model.Workload, error) {
	namespace, name, both := strings.Cut(ref, "/")
	if !both {
		namespace, name = "default", ref
	}
	if pod := w.workloads.Pods.Read(store.Key{Namespace: namespace, Name: name}); pod != nil {
		return pod, nil
	}
	return nil, fmt.Errorf("--from %s: there is no Pod %s/%s", ref, namespace, name)
}
