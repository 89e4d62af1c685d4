package istio

import (
	"testing"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
)

func TestGatewayLowersWhole(t *testing.T) {
	w := newWorld(t)
	w.apply(`
kind: Gateway
metadata: {namespace: shop, name: public, creationTimestamp: "2026-01-02T03:04:05Z"}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP2}
    hosts: ["*.Example.org", shop/a.example.com, ./b.example.com, "*/192.0.2.1"]
    tls: {httpsRedirect: true}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ["*"]
    tls:
      mode: MUTUAL
      credentialNames: [rsa, kubernetes://other/ecdsa]
      subjectAltNames: [spiffe://a/b]
      minProtocolVersion: TLSV1_2
      maxProtocolVersion: TLSV1_3
      cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]
  - port: {number: 444, name: other, protocol: HTTPS}
    hosts: [a.example.org]
    tls: {mode: OPTIONAL_MUTUAL, credentialName: one, caCertCredentialName: cas}
  - port: {number: 445, name: terminated, protocol: TLS}
    hosts: [a.example.org]
    tls: {mode: SIMPLE, credentialName: one}
  - port: {number: 446, name: through, protocol: TLS}
    hosts: [a.example.org]
    tls: {}
  - port: {number: 447, name: also-through, protocol: HTTPS}
    hosts: [a.example.org]
    tls: {mode: PASSTHROUGH}
  - port: {number: 27017, name: mongo, protocol: MONGO}
    hosts: ["*"]`)
	w.wantNoFindings()
	from := func(field string) model.Origin { return at("Gateway", "public", field) }
	any, one := []model.ServerHost{{Host: "*", Namespace: "*"}}, []model.ServerHost{{Host: "a.example.org", Namespace: "*"}}
	wantEqual(t, &model.Gateway{
		Name: public, Selector: "istio=ingressgateway",
		Servers: []model.Server{
			{Name: "http", Port: 80, RedirectHTTPS: true, Origin: from("spec.servers[0]"), Hosts: []model.ServerHost{
				{Host: "*.example.org", Namespace: "*"}, {Host: "a.example.com", Namespace: "shop"}, {Host: "b.example.com", Namespace: "shop"}, {Host: "192.0.2.1", Namespace: "*"}}},
			{Name: "https", Port: 443, Hosts: any, Origin: from("spec.servers[1]"), TLS: &model.ServerTLS{
				Credentials: []model.ObjectName{{Name: "rsa"}, {Namespace: "other", Name: "ecdsa"}}, ClientCA: &model.ObjectName{Name: "rsa-cacert"},
				ClientSANs: []string{"spiffe://a/b"}, MinVersion: model.TLS12, MaxVersion: model.TLS13, CipherSuites: []string{"ECDHE-RSA-AES128-GCM-SHA256"}}},
			{Name: "other", Port: 444, Hosts: one, Origin: from("spec.servers[2]"), TLS: &model.ServerTLS{
				Credentials: []model.ObjectName{{Name: "one"}}, ClientCA: &model.ObjectName{Name: "cas"}, ClientOptional: true}},
			{Name: "terminated", Port: 445, Protocol: model.ServeTCP, Hosts: one, Origin: from("spec.servers[3]"), TLS: &model.ServerTLS{Credentials: []model.ObjectName{{Name: "one"}}}},
			{Name: "through", Port: 446, Protocol: model.ServePassthrough, Hosts: one, Origin: from("spec.servers[4]")},
			{Name: "also-through", Port: 447, Protocol: model.ServePassthrough, Hosts: one, Origin: from("spec.servers[5]")},
			{Name: "mongo", Port: 27017, Protocol: model.ServeTCP, Hosts: any, Origin: from("spec.servers[6]")},
		},
		Seniority: model.Seniority{Created: 1767323045, Kind: "Gateway", Name: public.Name}, Origin: from(""),
	}, w.lowered.Gateways.Read(shop("public")))
}

// The oldest goes first, then kind, namespace and name.
func TestSeniority(t *testing.T) {
	w := newWorld(t)
	for _, g := range []string{
		`{namespace: b, name: young, creationTimestamp: "2026-01-03T00:00:00Z"}`, `{namespace: b, name: same, creationTimestamp: "2026-01-01T00:00:00Z"}`,
		`{namespace: a, name: same, creationTimestamp: "2026-01-01T00:00:00Z"}`, `{namespace: z, name: of-a-folder}`,
	} {
		w.apply("kind: Gateway\nmetadata: " + g + "\nspec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}")
		w.apply("kind: VirtualService\nmetadata: " + g + "\nspec: {hosts: [a.example], gateways: [shop/public], http: [{directResponse: {status: 200}}]}")
	}
	var gateways, routes []string
	for _, g := range ask(w, func(r *derive.Reader) []*model.Gateway { return w.lowered.GatewaysFor(r, model.Fleet{}) }) {
		gateways = append(gateways, g.Name.Name.String())
	}
	for _, s := range ask(w, func(r *derive.Reader) []*model.RouteSet { return w.lowered.RouteSetsFor(r, public) }) {
		routes = append(routes, s.Name.String())
	}
	want := []string{"z/of-a-folder", "a/same", "b/same", "b/young"}
	wantEqual(t, want, gateways)
	wantEqual(t, want, routes)
}
