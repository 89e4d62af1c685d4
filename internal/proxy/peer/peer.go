// Package peer is what proxies of a mesh tell each other of the workloads they belong to, in the form of Istio's proxies: a protobuf Struct, in base64,
// in the field x-envoy-peer-metadata.
//
// It owns how that is written and read, and what is believed of it: everything that comes in is bounded in length and made valid text, since it ends up
// in the labels of metrics. It never says what a peer's identity is: that is for certificates.
package peer

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/proxy/stats"
)

// The fields' names.
const (
	Field   = "x-envoy-peer-metadata"
	IDField = "x-envoy-peer-metadata-id"
)

// remembers is the key by which weft's proxies say that once on a connection is enough. Others do not know it.
const remembers = "WEFT_REMEMBERS"

const (
	maxBytes      = 8 << 10 // of the field
	maxLabelBytes = 253     // of a label: as long as a name may be in Kubernetes
)

// Self is what a proxy says of itself.
type Self struct{ ID, Value string }

// NewSelf makes it from the proxy's node: its ID, and its metadata in Istio's form.
func NewSelf(id string, node *structpb.Struct) Self {
	out := &structpb.Struct{Fields: map[string]*structpb.Value{remembers: structpb.NewBoolValue(true)}}
	for _, key := range [...]string{"NAME", "NAMESPACE", "OWNER", "WORKLOAD_NAME", "CLUSTER_ID"} {
		if v := node.GetFields()[key].GetStringValue(); v != "" {
			out.Fields[key] = structpb.NewStringValue(v)
		}
	}
	w := Of(node)
	labels := map[string]*structpb.Value{}
	for key, v := range map[string]string{
		"app": w.App, "version": w.Version, "service.istio.io/canonical-name": w.CanonicalService, "service.istio.io/canonical-revision": w.CanonicalRevision,
	} {
		if v != "" {
			labels[key] = structpb.NewStringValue(v)
		}
	}
	out.Fields["LABELS"] = structpb.NewStructValue(&structpb.Struct{Fields: labels})
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(out)
	if err != nil { // of bytes that are no UTF-8
		return Self{}
	}
	return Self{id, base64.StdEncoding.EncodeToString(b)}
}

// Of is the workload that metadata of a node speaks of.
func Of(node *structpb.Struct) stats.Workload {
	fields := node.GetFields()
	labels := fields["LABELS"].GetStructValue().GetFields()
	first := func(names ...string) string {
		for _, n := range names {
			if v := clean(labels[n]); v != "" {
				return v
			}
		}
		return ""
	}
	w := stats.Workload{
		Name: clean(fields["WORKLOAD_NAME"]), Namespace: clean(fields["NAMESPACE"]), Cluster: clean(fields["CLUSTER_ID"]), App: first("app"), Version: first("version"),
		CanonicalService:  first("service.istio.io/canonical-name", "app.kubernetes.io/name", "app"),
		CanonicalRevision: first("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"),
	}
	if w.CanonicalService == "" {
		w.CanonicalService = w.Name
	}
	return w
}

// clean gives a text as a label may have it; "" is none.
func clean(v *structpb.Value) string {
	s := v.GetStringValue()
	if len(s) > maxLabelBytes || !utf8.ValidString(s) {
		return ""
	}
	return strings.Clone(s)
}

// Said is what a peer said of itself.
type Said struct {
	Workload stats.Workload
	// Remembers: it keeps what it is told as long as the connection lasts.
	Remembers bool
}

// Parse reads the value of the field. It is false if that is nothing that a proxy would say.
func Parse(value string) (Said, bool) {
	if len(value) > maxBytes {
		return Said{}, false
	}
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil {
		return Said{}, false
	}
	var m structpb.Struct
	if proto.Unmarshal(b, &m) != nil {
		return Said{}, false
	}
	return Said{Of(&m), m.GetFields()[remembers].GetBoolValue()}, true
}

// FromEndpoint reads what Istio's control planes say of an endpoint in its metadata: "NAME;NAMESPACE;CANONICAL-NAME;CANONICAL-REVISION;CLUSTER".
func FromEndpoint(text string) stats.Workload {
	var w stats.Workload
	for i, at := range [...]*string{&w.Name, &w.Namespace, &w.CanonicalService, &w.CanonicalRevision, &w.Cluster} {
		parts := strings.SplitN(text, ";", i+2)
		if len(parts) > i {
			*at = parts[i]
		}
	}
	w.App, w.Version = w.CanonicalService, w.CanonicalRevision
	return w
}
