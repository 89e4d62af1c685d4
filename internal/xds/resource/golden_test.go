package resource

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, m proto.Message) {
	t.Helper()
	raw, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var v any // protojson's spaces are not the same in every build
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
		t.Errorf("run the test with -update if this is meant:\n%s", d)
	}
}

func declared(kind, name, field string) model.Origin {
	return model.Origin{Object: finding.Object{Kind: kind, Namespace: "shop", Name: name}, Field: field}
}

// What a listener, a virtual host and a cluster are to a proxy, in full: a change here makes every proxy take them in anew.
func TestGolden(t *testing.T) {
	fleet := model.Fleet{Namespace: "weft-system", Labels: "istio=ingressgateway"}
	web := model.Destination{Host: "web.shop.svc.cluster.local", Port: 80, Subset: "v1"}
	l, problems := Listener(fleet, &model.Listener{Port: 443, Origin: declared("Gateway", "public", "spec.servers[0]"), Chains: []model.Chain{{
		Name: "https", SNI: []string{"shop.test"}, Encrypted: true, Table: "https.443.https.public.shop", Origin: declared("Gateway", "public", "spec.servers[0]"),
		TLS: &model.ServerTLS{Credentials: []model.ObjectName{{Namespace: "weft-system", Name: "shop-tls"}}},
	}}}, Options{})
	if len(problems) > 0 {
		t.Error(problems)
	}
	golden(t, "listener", l)

	sticky := &model.TrafficPolicy{LoadBalancer: &model.LoadBalancer{Balance: model.RingHash, Hash: []model.HashOn{{Header: "x-user"}}}}
	h, problems := VirtualHost(&model.VirtualHost{Name: "shop.test:443", Domains: []string{"shop.test"}, Origin: declared("VirtualService", "web", "spec"), Routes: []model.Route{{
		Name: "canary", Origin: declared("VirtualService", "web", "spec.http[0]"), Timeout: time.Second,
		Matches: []model.Match{{Path: model.PathMatch{Kind: model.MatchSegments, Value: "/cart/"}, Headers: []model.NamedMatch{{Name: "x-beta", StringMatch: model.StringMatch{Kind: model.MatchExact, Value: "yes"}}}}},
		To:      []model.Weighted{{Destination: web, Weight: 90}, {Destination: model.Destination{Host: web.Host, Port: 80, Subset: "v2"}, Weight: 10}},
		Request: model.HeaderOps{Set: []model.HeaderValue{{Name: "x-by", Value: "100% weft"}}},
	}}}, func(model.Destination) *model.TrafficPolicy { return sticky })
	if len(problems) > 0 {
		t.Error(problems)
	}
	golden(t, "virtualhost", h)

	c, problems := Cluster(fleet.Namespace, &model.Cluster{Destination: web, Policy: *sticky, HTTP2: true, Host: model.ServiceName{Namespace: "shop", Name: "web"},
		Service: declared("Service", "web", "spec.ports[0]"), Rule: declared("DestinationRule", "web", "spec.subsets[0]")}, Options{})
	if len(problems) > 0 {
		t.Error(problems)
	}
	golden(t, "cluster", c)
}
