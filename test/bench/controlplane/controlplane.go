// Package controlplane is the control plane as weft control wires it, from objects in a store to what proxies are told, for benchmarks that put the objects
// there themselves.
//
// It talks to no API server, and leaves out what only speaks to people: findings, status and metrics.
package controlplane

import (
	"log/slog"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/istio"
	"github.com/weftmesh/weft/internal/lower/service"
	"github.com/weftmesh/weft/internal/lower/workload"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// Plane is one control plane.
type Plane struct {
	DB        *derive.DB
	Source    *store.Source // whose objects it knows
	Tables    *kube.Tables
	Workloads *workload.Lowered
	Resources *xds.Resources
	Sidecars  *xds.Mesh
}

// New makes one that knows no object yet.
func New() *Plane {
	st := store.New(slog.New(slog.DiscardHandler))
	p := &Plane{DB: st.DB(), Source: st.Source("made-up"), Tables: kube.NewTables(st)}
	db, t := p.DB, p.Tables
	objects := service.Objects{Services: t.Services, Slices: t.EndpointSlices, SlicesByService: t.SlicesByService, Nodes: t.Nodes, Secrets: t.Secrets}
	services := compose.Define(db, objects, service.Define(db, objects))
	api := istio.Define(db, istio.Objects{
		Gateways: t.Gateways, VirtualServices: t.VirtualServices, DestinationRules: t.DestinationRules, ServiceEntries: t.ServiceEntries, WorkloadEntries: t.WorkloadEntries,
		PeerAuthentications: t.PeerAuthentications, AuthorizationPolicies: t.AuthorizationPolicies, RequestAuthentications: t.RequestAuthentications,
	}, istio.Options{})
	p.Workloads = workload.Define(db, workload.Objects{Pods: t.Pods, WorkloadEntries: t.WorkloadEntries})
	edge := compose.DefineEdge(db, services, compose.EdgeOptions{
		Peers: api.PeerAuthenticationFor, Guard: api.GuardFor, Sources: []compose.EdgeSource{api}, Entry: api.EntryFor, Workloads: api.WorkloadEndpoints, Policies: api.PoliciesFor,
		Pod: func(r *derive.Reader, n model.ObjectName) *model.Workload {
			return p.Workloads.Pods.Get(r, store.Key(n))
		},
	})
	mesh := compose.DefineMesh(db, edge, compose.MeshOptions{
		Entry: api.Entries.Get, Routes: api.RouteSets.Get, RoutesFor: api.MeshRouteSetsFor, ConnectionsFor: api.MeshConnectionSetsFor, Addresses: p.Workloads.Addresses.Get, At: p.Workloads.At.Get,
		AllServices: t.Services.Keys, AllEntries: t.ServiceEntries.Keys, AllRoutes: t.VirtualServices.Keys, PodsIn: p.Workloads.In.Get,
	})
	p.Resources = xds.DefineResources(db, edge, resource.Options{})
	p.Sidecars = xds.DefineMesh(db, mesh, p.Resources,
		xds.MeshKeys{Services: t.Services.KeySet(), Entries: t.ServiceEntries.KeySet(), Routes: t.VirtualServices.KeySet()}, resource.Options{})
	return p
}
