package cli

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/ingress"
	"github.com/weftmesh/weft/internal/lower/istio"
	"github.com/weftmesh/weft/internal/lower/workload"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds"
)

// defaultFleet is the labels of weft's own gateway, by which Gateways of Istio's users find it.
const defaultFleet model.Labels = "app=istio-ingressgateway,istio=ingressgateway"

// edgeKinds are what the edge is made of.
func edgeKinds(t *kube.Tables) []*kube.Kind {
	k := &t.Kind
	return []*kube.Kind{k.Service, k.EndpointSlice, k.Pod, k.Ingress, k.IngressClass, k.Secret,
		k.Gateway, k.VirtualService, k.DestinationRule, k.ServiceEntry, k.WorkloadEntry,
		k.PeerAuthentication, k.AuthorizationPolicy, k.RequestAuthentication}
}

// traffic is what proxies carry, of all APIs together.
type traffic struct {
	edge *compose.Edge
	mesh *compose.Mesh

	keySources *derive.Query[store.Key, []model.KeySource] // of RequestAuthentications
}

// newEdge declares what gateways carry. The store must still be empty.
func newEdge(w *world, domain string) *compose.Edge { return newTraffic(w, domain, "").edge }

// newTraffic declares what gateways and sidecars carry. The store must still be empty.
func newTraffic(w *world, domain, trust string) traffic {
	db, t := w.store.DB(), w.tables
	api := istio.Define(db, istio.Objects{
		Gateways: t.Gateways, VirtualServices: t.VirtualServices, DestinationRules: t.DestinationRules, ServiceEntries: t.ServiceEntries, WorkloadEntries: t.WorkloadEntries,
		PeerAuthentications: t.PeerAuthentications, AuthorizationPolicies: t.AuthorizationPolicies,
		RequestAuthentications: t.RequestAuthentications, KeySets: w.keySets,
	}, istio.Options{Domain: domain, TrustDomain: trust})
	api.Tell() // also what no gateway asks for is looked at
	in := ingress.Define(db, ingress.Objects{Ingresses: t.Ingresses, Classes: t.IngressClasses}, ingress.Options{
		Domain: domain, ClassNames: []string{"weft"}, Folder: w.config == nil,
	})
	workloads := workload.Define(db, workload.Objects{Pods: t.Pods, WorkloadEntries: t.WorkloadEntries})
	w.workloads = workloads
	edge := compose.DefineEdge(db, w.model, compose.EdgeOptions{
		Domain: domain, TrustDomain: trust, Peers: api.PeerAuthenticationFor, Guard: api.GuardFor, Sources: []compose.EdgeSource{api, in},
		Pod:   func(r *derive.Reader, n model.ObjectName) *model.Workload { return workloads.Pods.Get(r, store.Key(n)) },
		Entry: api.EntryFor, Workloads: api.WorkloadEndpoints, Policies: api.PoliciesFor,
	})
	mesh := compose.DefineMesh(db, edge, compose.MeshOptions{
		Entry: api.Entries.Get, Routes: api.RouteSets.Get, RoutesFor: api.MeshRouteSetsFor, ConnectionsFor: api.MeshConnectionSetsFor, Addresses: workloads.Addresses.Get, At: workloads.At.Get,
		AllServices: t.Services.Keys, AllEntries: t.ServiceEntries.Keys, AllRoutes: t.VirtualServices.Keys,
		PodsIn: workloads.In.Get,
	})
	mesh.TellReach(db, t.PeerAuthentications.Kind(), t.PeerAuthentications.KeySet(), api.PeerReach)
	mesh.TellReach(db, t.AuthorizationPolicies.Kind(), t.AuthorizationPolicies.KeySet(), api.AuthorizationReach)
	mesh.TellReach(db, t.RequestAuthentications.Kind(), t.RequestAuthentications.KeySet(), api.AuthenticationReach)
	return traffic{keySources: api.KeySources, edge: edge, mesh: mesh}
}

// meshKeys are what the index of the mesh is made of.
func meshKeys(t *kube.Tables) xds.MeshKeys {
	return xds.MeshKeys{Services: t.Services.KeySet(), Entries: t.ServiceEntries.KeySet(), Routes: t.VirtualServices.KeySet()}
}

// lookAt reads all objects once, of an API server or of manifests (a file or a folder), and gives them to look. findings is what is wrong with the
// manifests themselves.
func lookAt(ctx context.Context, g *globals, manifests, domain string, look func(w *world, t traffic, findings []finding.Finding) error) error {
	if manifests != "" {
		files, err := kube.ReadFiles(manifests)
		if err != nil {
			return fmt.Errorf("manifests: %w", err)
		}
		w := emptyWorld(slog.New(slog.DiscardHandler))
		t := newTraffic(w, domain, "")
		return look(w, t, kube.Load(w.store.Source("manifests"), files, edgeKinds(w.tables)...))
	}
	w, err := newWorld(g, "cli", sourceFlags{quiet: true}, edgeKinds)
	if err != nil {
		return err
	}
	t := newTraffic(w, domain, "")
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); w.source.Run(ctx) }()
	defer func() { stop(); <-done }()
	if err := w.store.Wait(ctx); err != nil {
		return err
	}
	return look(w, t, nil)
}

// fleets lists the fleets that may have something to carry: those whose labels a Gateway selects, and weft's own.
func fleets(w *world, namespace string) []model.Fleet {
	labels := []model.Labels{defaultFleet}
	for _, g := range w.tables.Gateways.Snapshot() {
		if l := model.MakeLabels(g.Spec.Selector); !defaultFleet.Match(l) && !slices.Contains(labels, l) {
			labels = append(labels, l)
		}
	}
	var out []model.Fleet
	for _, l := range labels {
		out = append(out, model.Fleet{Namespace: namespace, Labels: l})
	}
	return out
}

// everything reads all that a fleet carries, so that whatever is wrong with it is found.
func everything(e *compose.Edge, f model.Fleet) {
	for _, name := range compose.TableNames(e.Listeners.Read(f)) {
		e.Tables.Read(compose.TableKey{Fleet: f, Name: name})
	}
	for _, k := range e.ClusterKeys.Read(f) {
		e.Clusters.Read(k)
		e.Endpoints.Read(k)
	}
	for _, n := range e.SecretNames.Read(f) {
		e.Secrets.Read(n)
	}
}

// parseFleet reads "weft-system/istio=ingressgateway": a namespace, labels, or both.
func parseFleet(s, namespace string) (model.Fleet, error) {
	ns, labels, both := strings.Cut(s, "/")
	if !both && strings.Contains(s, "=") {
		ns, labels = "", s
	}
	f := model.Fleet{Namespace: ns, Labels: defaultFleet}
	if f.Namespace == "" {
		f.Namespace = namespace
	}
	if labels == "" {
		return f, nil
	}
	set := map[string]string{}
	for pair := range strings.SplitSeq(labels, ",") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return f, badUsage("--gateway %q: want NAMESPACE/LABEL=VALUE,..., the labels of the gateway's Pods", s)
		}
		set[k] = v
	}
	f.Labels = model.MakeLabels(set)
	return f, nil
}

// hasError tells whether one of the findings is an error.
func hasError(list []finding.Finding) bool {
	return slices.ContainsFunc(list, func(f finding.Finding) bool { return f.Severity == finding.Error })
}
