package resource

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/model"
)

// Metadata namespaces and keys.
const (
	weftMetadata  = "weft"
	istioMetadata = "istio"
	originKey     = "origin"
	configKey     = "config"
)

// istioKinds spells Istio's kinds as its own metadata does.
var istioKinds = map[string]string{"VirtualService": "virtual-service", "Gateway": "gateway", "DestinationRule": "destination-rule"}

// metadata says where an element was declared, in weft's words and, for Istio's dashboards, in Istio's; nil if nobody declared it.
func metadata(o model.Origin) *corev3.Metadata {
	if o == (model.Origin{}) {
		return nil
	}
	m := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{weftMetadata: fields(originKey, o.String())}}
	if kind := istioKinds[o.Kind]; kind != "" {
		m.FilterMetadata[istioMetadata] = fields(configKey, "/apis/networking.istio.io/v1/namespaces/"+o.Namespace+"/"+kind+"/"+o.Name)
	}
	return m
}

func fields(pairs ...string) *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Fields[pairs[i]] = structpb.NewStringValue(utf8(pairs[i+1]))
	}
	return s
}

// utf8 makes a text sayable in a protobuf.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
