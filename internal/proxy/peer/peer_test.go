package peer

import (
	"encoding/base64"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/proxy/stats"
)

func node(t testing.TB, fields map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatIsSaidIsUnderstood(t *testing.T) {
	self := NewSelf("sidecar~10.0.0.1~front-7.shop~shop.svc.cluster.local", node(t, map[string]any{
		"NAME": "front-7", "NAMESPACE": "shop", "WORKLOAD_NAME": "front-v2", "CLUSTER_ID": "Kubernetes", "OWNER": "kubernetes://apis/apps/v1/namespaces/shop/deployments/front-v2",
		"LABELS": map[string]any{"app": "front", "version": "v2", "pod-template-hash": "secret"}, "INSTANCE_IPS": "10.0.0.1",
	}))
	said, ok := Parse(self.Value)
	want := stats.Workload{Name: "front-v2", Namespace: "shop", App: "front", Version: "v2", CanonicalService: "front", CanonicalRevision: "v2", Cluster: "Kubernetes"}
	if !ok || !said.Remembers || said.Workload != want {
		t.Errorf("%+v", said)
	}
	raw, err := base64.StdEncoding.DecodeString(self.Value)
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range []string{"secret", "INSTANCE_IPS"} {
		if strings.Contains(string(raw), private) {
			t.Errorf("%s is told to everybody", private)
		}
	}
}

// What an Istio proxy says: it does not remember.
func TestIstio(t *testing.T) {
	b, err := proto.Marshal(node(t, map[string]any{"NAMESPACE": "shop", "WORKLOAD_NAME": "orders", "LABELS": map[string]any{"service.istio.io/canonical-name": "orders"}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding} {
		said, ok := Parse(encoding.EncodeToString(b))
		if !ok || said.Remembers || said.Workload != (stats.Workload{Name: "orders", Namespace: "shop", CanonicalService: "orders"}) {
			t.Errorf("%+v", said)
		}
	}
}

func TestBounds(t *testing.T) {
	long := NewSelf("x", node(t, map[string]any{"WORKLOAD_NAME": strings.Repeat("x", 254), "NAMESPACE": strings.Repeat("n", 253)}))
	if said, ok := Parse(long.Value); !ok || said.Workload.Name != "" || len(said.Workload.Namespace) != 253 {
		t.Errorf("%+v", said)
	}
	for _, bad := range []string{"!", "////", strings.Repeat("A", maxBytes+1), base64.StdEncoding.EncodeToString([]byte("\x0a\xff"))} {
		if _, ok := Parse(bad); ok {
			t.Errorf("%.20s is understood", bad)
		}
	}
}

func TestFromEndpoint(t *testing.T) {
	for text, want := range map[string]stats.Workload{
		"":                                    {},
		"orders-v1;shop;orders;v1;Kubernetes": {Name: "orders-v1", Namespace: "shop", CanonicalService: "orders", CanonicalRevision: "v1", App: "orders", Version: "v1", Cluster: "Kubernetes"},
		"orders;shop":                         {Name: "orders", Namespace: "shop"},
	} {
		if got := FromEndpoint(text); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(NewSelf("x", node(f, map[string]any{"WORKLOAD_NAME": "w", "LABELS": map[string]any{"app": "a"}})).Value)
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		said, ok := Parse(value)
		if !ok && said != (Said{}) {
			t.Errorf("refused, and believed: %+v", said)
		}
		for _, label := range []string{said.Workload.Name, said.Workload.Namespace, said.Workload.App, said.Workload.Version, said.Workload.CanonicalService, said.Workload.Cluster} {
			if len(label) > maxLabelBytes {
				t.Errorf("a label of %d bytes", len(label))
			}
		}
	})
}
