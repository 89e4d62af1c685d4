package xds

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
	"github.com/weftmesh/weft/internal/xds/resource"
)

// indexed is a resource of the index and who may see it.
type indexed struct {
	*Resource
	exported []string        // namespaces, or "*"
	ruled    *model.MeshHost // not nil: it may differ between clients, and the resource is what it is without rules
}

func (r *indexed) visible(namespace string) bool {
	return slices.Contains(r.exported, "*") || slices.Contains(r.exported, namespace)
}

// ruledKey names a Service of the index in the eyes of some clients. A host that changes is another pointer.
type ruledKey struct {
	namespace string // of the clients
	labels    model.Labels
	host      *model.MeshHost
}

// String names the host for explanations.
func (k ruledKey) String() string {
	return fmt.Sprintf("%s@%p for %s/%s", k.host.Host, k.host, k.namespace, k.labels)
}

func family(db *derive.DB, name string, keys *derive.KeySet[store.Key], hosts func(*derive.Reader, store.Key) []*model.MeshHost) *derive.Family[store.Key, []*indexed] {
	return derive.Each(derive.Define(db, name, sameIndexed, func(r *derive.Reader, k store.Key) (out []*indexed) {
		for _, h := range hosts(r, k) {
			one := &indexed{newResource(resource.HostName(h), resource.ServiceType, resource.Marshal(resource.IndexedHost(h, nil))), h.Exported, nil}
			if h.Ruled {
				one.ruled = h
			}
			out = append(out, one)
		}
		return out
	}), keys)
}

func sameIndexed(a, b []*indexed) bool {
	return slices.EqualFunc(a, b, func(a, b *indexed) bool {
		return a.Resource.equal(b.Resource) && slices.Equal(a.exported, b.exported) && a.ruled == b.ruled
	})
}

// ruled says a Service of the index with its rules.
func ruled(db *derive.DB, mesh *compose.Mesh) (q *derive.Query[ruledKey, *Resource]) {
	q = derive.Define(db, "xds/mesh/index with rules", (*Resource).equal, func(r *derive.Reader, k ruledKey) *Resource {
		if k.labels != "" && !mesh.AsksForClients(r, k.host.Host, k.namespace) {
			k.labels = ""
			return q.Get(r, k)
		}
		return newResource(resource.HostName(k.host), resource.ServiceType, resource.Marshal(resource.IndexedHost(k.host, rulesFor(r, mesh, k.namespace, k.labels))))
	})
	return q
}

// rulesFor gives the rules for connections of some clients.
func rulesFor(r *derive.Reader, mesh *compose.Mesh, namespace string, labels model.Labels) resource.Rules {
	return func(h *model.MeshHost, port uint16) []model.ConnectionRule {
		if !h.Ruled {
			return nil
		}
		return mesh.Connections.Get(r, compose.MeshTableKey{Namespace: namespace, Labels: labels, Port: port, Host: h.Host})
	}
}
