package istio

import (
	"testing"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// What users of Istio begin with: one host of a Gateway, to one subset of a Service.
const demo = `
kind: Gateway
metadata: {name: istio-ingress-gateway, namespace: default}
spec:
  selector: {app: istio-ingressgateway, istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['www.service1.io']
---
kind: VirtualService
metadata: {name: mesh-demo-vs, namespace: default}
spec:
  gateways: [istio-ingress-gateway]
  hosts: [www.service1.io]
  http:
  - name: default
    route:
    - destination: {host: mesh-demo, port: {number: 8081}, subset: v1}
---
kind: DestinationRule
metadata: {name: mesh-demo-dr, namespace: default}
spec:
  host: mesh-demo
  subsets:
  - {name: v1, labels: {app: mesh-demo-v1}}
  - {name: v2, labels: {app: mesh-demo-v2}}`

func TestDemoLowersWhole(t *testing.T) {
	w := newWorld(t)
	w.apply(demo)
	w.wantNoFindings()
	from := func(kind, name, field string) model.Origin {
		return model.Origin{Object: finding.Object{Kind: kind, Namespace: "default", Name: name}, Field: field}
	}
	named := func(name string) model.ObjectName { return model.ObjectName{Namespace: "default", Name: name} }
	fleet := model.Fleet{Namespace: "weft-system", Labels: "app=istio-ingressgateway,istio=ingressgateway,pod-template-hash=x"}
	gateway := model.GatewayName{Kind: "Gateway", Name: named("istio-ingress-gateway")}
	wantEqual(t, []*model.Gateway{{
		Name: gateway, Selector: "app=istio-ingressgateway,istio=ingressgateway",
		Servers: []model.Server{{
			Name: "http", Port: 80, Hosts: []model.ServerHost{{Host: "www.service1.io", Namespace: "*"}},
			Origin: from("Gateway", "istio-ingress-gateway", "spec.servers[0]"),
		}},
		Seniority: model.Seniority{Kind: "Gateway", Name: named("istio-ingress-gateway")},
		Origin:    from("Gateway", "istio-ingress-gateway", ""),
	}}, ask(w, func(r *derive.Reader) []*model.Gateway { return w.lowered.GatewaysFor(r, fleet) }))
	wantEqual(t, []*model.RouteSet{{
		Hosts: []string{"www.service1.io"}, Gateways: []model.GatewayName{gateway}, Exported: []string{"*"},
		HTTP: []model.Route{{
			Name: "default", Origin: from("VirtualService", "mesh-demo-vs", "spec.http[0]"),
			To: []model.Weighted{{
				Destination: model.Destination{Host: "mesh-demo.default.svc.cluster.local", Port: 8081, Subset: "v1"},
				Origin:      from("VirtualService", "mesh-demo-vs", "spec.http[0].route[0]"),
			}},
		}},
		Seniority: model.Seniority{Kind: "VirtualService", Name: named("mesh-demo-vs")},
		Origin:    from("VirtualService", "mesh-demo-vs", ""),
	}}, ask(w, func(r *derive.Reader) []*model.RouteSet { return w.lowered.RouteSetsFor(r, gateway) }))
	wantEqual(t, []*model.DestinationPolicy{{
		Host: "mesh-demo.default.svc.cluster.local", Exported: []string{"*"},
		Subsets: []model.Subset{
			{Name: "v1", Labels: "app=mesh-demo-v1", Origin: from("DestinationRule", "mesh-demo-dr", "spec.subsets[0]")},
			{Name: "v2", Labels: "app=mesh-demo-v2", Origin: from("DestinationRule", "mesh-demo-dr", "spec.subsets[1]")},
		},
		Seniority: model.Seniority{Kind: "DestinationRule", Name: named("mesh-demo-dr")},
		Origin:    from("DestinationRule", "mesh-demo-dr", ""),
	}}, ask(w, func(r *derive.Reader) []*model.DestinationPolicy {
		return w.lowered.PoliciesFor(r, "mesh-demo.default.svc.cluster.local", "weft-system")
	}))
}

func TestFleetsThatAreNotMeantGetNothing(t *testing.T) {
	w := newWorld(t)
	w.apply(demo)
	other := model.Fleet{Namespace: "weft-system", Labels: "app=istio-egressgateway,istio=egressgateway"}
	if g := ask(w, func(r *derive.Reader) []*model.Gateway { return w.lowered.GatewaysFor(r, other) }); len(g) != 0 {
		t.Errorf("%v", g)
	}
}
