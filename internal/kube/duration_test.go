package kube

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	networkingv1 "istio.io/api/networking/v1"
)

// Durations are read in every form that Istio's users write, wherever they stand.
func TestDurations(t *testing.T) {
	spec := `{"http":[{"timeout":"1m30s","retries":{"perTryTimeout":"250ms"},"corsPolicy":{"maxAge":"24h"},"match":[{"headers":{"a":{"exact":"10m"}}}]}]}`
	text, err := inSeconds([]byte(spec), (&networkingv1.VirtualService{}).ProtoReflect().Descriptor())
	if err != nil {
		t.Fatal(err)
	}
	var vs networkingv1.VirtualService
	if err := protojson.Unmarshal(text, &vs); err != nil {
		t.Fatal(err)
	}
	r := vs.Http[0]
	if r.Timeout.AsDuration().String() != "1m30s" || r.Retries.PerTryTimeout.AsDuration().String() != "250ms" || r.CorsPolicy.MaxAge.AsDuration().String() != "24h0m0s" {
		t.Errorf("%v", r)
	}
	if v := r.Match[0].Headers["a"].GetExact(); v != "10m" {
		t.Errorf("text that looks like a duration became %q", v)
	}
}
