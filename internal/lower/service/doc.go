// Package service lowers the core and discovery APIs (Service, EndpointSlice, Node, Secret) to the model, and says what is wrong with those objects.
//
// It looks at one object, or at one Service with its slices, at a time. Objects that contend for the same place are for compose to settle;
// who carries the result is nobody's concern here.
package service

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// Objects is what is lowered.
type Objects struct {
	Services        *store.Table[corev1.Service]
	Slices          *store.Table[discoveryv1.EndpointSlice]
	SlicesByService *store.Index[store.Key, discoveryv1.EndpointSlice] // by namespace and the label kubernetes.io/service-name
	Nodes           *store.Table[corev1.Node]
	Secrets         *store.Table[corev1.Secret] // nil: nobody asks for certificates
}

// Lowered is the queries over the objects. Each gives nil for what does not exist.
type Lowered struct {
	Services  *derive.Query[store.Key, *model.Service]
	Endpoints *derive.Query[store.Key, *model.Endpoints]
	Nodes     *derive.Query[store.Key, *model.Node]
	Secrets   *derive.Query[store.Key, *model.Secret] // those with TLS material that can be used
	Selectors *derive.Query[store.Key, model.Labels]  // of Services; "" is none

	// InNamespace are the Services of a namespace, sorted.
	InNamespace *derive.Query[string, []store.Key]

	// Claimants are the Services that ask for a place, the one with the best right first.
	Claimants *derive.Query[model.Claim, []store.Key]
}

// Define declares the queries in db. The tables must still be empty: an index of claims is added to them.
func Define(db *derive.DB, o Objects) *Lowered {
	l := &Lowered{}
	claims := store.NewIndex(o.Services, "claim", claimsOf)
	inNamespace := store.NewIndex(o.Services, "namespace", func(s *corev1.Service) []string { return []string{s.Namespace} })
	l.InNamespace = derive.Define(db, "lower/services in namespace", slices.Equal, func(r *derive.Reader, namespace string) (keys []store.Key) {
		for _, s := range inNamespace.List(r, namespace) { // in the order of their keys
			keys = append(keys, store.Key{Namespace: s.Namespace, Name: s.Name})
		}
		return keys
	})
	l.Services = derive.Define(db, "lower/service", (*model.Service).Equal, func(r *derive.Reader, k store.Key) *model.Service {
		return lowerService(o.Services.Get(r, k), r.Report)
	})
	// Whether somebody else makes the endpoints is all that they need to know of the Service.
	handmade := derive.Define(db, "lower/handmade", derive.Equal, func(r *derive.Reader, k store.Key) bool {
		s := o.Services.Get(r, k)
		return s != nil && s.Spec.Type != corev1.ServiceTypeExternalName && len(s.Spec.Selector) == 0
	})
	l.Endpoints = derive.Define(db, "lower/endpoints", (*model.Endpoints).Equal, func(r *derive.Reader, k store.Key) *model.Endpoints {
		slices := o.SlicesByService.List(r, k)
		if len(slices) == 0 {
			if handmade.Get(r, k) {
				r.Report(finding.Finding{Object: object("Service", k), Field: "spec.selector", Severity: finding.Warning, Code: "no-endpoint-slices",
					Message: "the Service has no selector, and no EndpointSlice is labelled " + discoveryv1.LabelServiceName + "=" + k.Name})
			}
			return nil
		}
		return lowerEndpoints(k, slices, r.Report)
	})
	l.Nodes = derive.Define(db, "lower/node", (*model.Node).Equal, func(r *derive.Reader, k store.Key) *model.Node {
		return lowerNode(o.Nodes.Get(r, k), r.Report)
	})
	l.Secrets = derive.Define(db, "lower/secret", sameSecret, func(r *derive.Reader, k store.Key) *model.Secret {
		if o.Secrets == nil {
			return nil
		}
		return lowerSecret(o.Secrets.Get(r, k), r.Report)
	})
	l.Selectors = derive.Define(db, "lower/selector", derive.Equal, func(r *derive.Reader, k store.Key) model.Labels {
		if s := o.Services.Get(r, k); s != nil {
			return model.MakeLabels(s.Spec.Selector)
		}
		return ""
	})
	l.Claimants = derive.Define(db, "lower/claimants", sameKeys, func(r *derive.Reader, c model.Claim) []store.Key {
		return bySeniority(claims.List(r, c))
	})
	return l
}

func object(kind string, k store.Key) finding.Object {
	return finding.Object{Kind: kind, Namespace: k.Namespace, Name: k.Name}
}

// report takes a finding about one object.
type report func(finding.Finding)

func (f report) at(o finding.Object, severity finding.Severity, field, code, message string) {
	f(finding.Finding{Object: o, Field: field, Severity: severity, Code: code, Message: message})
}
