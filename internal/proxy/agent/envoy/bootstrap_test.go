package envoy

import (
	"encoding/json"
	"testing"

	"github.com/weftmesh/weft/internal/proxy/bootstrap"
)

// Envoy does not pass for weft's own proxy: it would be sent what it does not know, and reject it.
func TestEnvoySaysWhatItIs(t *testing.T) {
	o := Options{Node: bootstrap.Identity{Kind: "sidecar", Name: "web", Namespace: "shop", Version: "v1"}.Node()}
	text, err := o.bootstrap()
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Node map[string]any }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Node["id"] != o.Node.GetId() || got.Node["metadata"] == nil {
		t.Errorf("the node is not the Pod's: %v", got.Node)
	}
	for _, field := range []string{"clientFeatures", "userAgentName", "userAgentVersion"} {
		if v, ok := got.Node[field]; ok {
			t.Errorf("node.%s is %v", field, v)
		}
	}
	if len(o.Node.GetClientFeatures()) == 0 {
		t.Error("the caller's node has changed")
	}
}
