// Package explain says what weft does with a connection, and why: it asks the same model that the carriers are compiled from, and keeps the
// trail, naming at each step the object and the field that decided.
//
// It decides nothing itself and changes nothing. Where the kernel holds the answer is for the carrier to add.
package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
	"github.com/weftmesh/weft/internal/store"
)

// Question is a connection that somebody wants to understand.
type Question struct {
	Protocol  model.Protocol
	Host      string // a name as the client writes it, or an address; empty is the node itself (a node port)
	Port      uint16
	Namespace string // the client's, which short names are resolved in
	Node      string // where the client runs, or where the packet arrives from outside
	Outside   bool   // the client is neither a Pod nor a node of the cluster
	Domain    string // the cluster's, as in "cluster.local"
}

// Trail is the way from a question to its answer.
type Trail struct {
	Question string   `json:"question"`
	Steps    []Step   `json:"steps"`
	Answer   string   `json:"answer"`           // one line
	Frontend plan.Key `json:"-"`                // what a carrier holds for it, if anything
	Found    bool     `json:"found"`            // whether there is such a frontend
	Kernel   []string `json:"kernel,omitempty"` // where the kernel holds it, filled in by the node
}

// Step is one thing found on the way.
type Step struct {
	What   string       `json:"what"`             // "name", "service", "port", "policy", "endpoint", ...
	Text   string       `json:"text"`             // one line
	Origin model.Origin `json:"origin,omitzero"`  // which object says so
	Reject bool         `json:"reject,omitempty"` // this is what did not match
}

func (t *Trail) step(what string, o model.Origin, format string, args ...any) {
	t.Steps = append(t.Steps, Step{What: what, Text: fmt.Sprintf(format, args...), Origin: o})
}

func (t *Trail) reject(what string, o model.Origin, format string, args ...any) {
	t.Steps = append(t.Steps, Step{What: what, Text: fmt.Sprintf(format, args...), Origin: o, Reject: true})
}

func (t *Trail) answer(format string, args ...any) Trail {
	t.Answer = fmt.Sprintf(format, args...)
	return *t
}

// Connection follows a connection through the model.
func Connection(m *compose.Model, q Question) Trail {
	t := &Trail{Question: q.String()}
	svc, addr := find(m, q, t)
	if svc == nil {
		if !addr.IsValid() {
			return t.answer("weft has no name %q; DNS forwards it or answers NXDOMAIN", q.Host)
		}
		return t.answer("%v is no Service's: the connection is routed as it is", addr)
	}
	switch svc.Kind {
	case model.External:
		t.step("service", svc.Origin.At("spec.externalName"), "an alias: DNS answers CNAME %s", svc.ExternalName)
		return t.answer("the client connects to %s itself", svc.ExternalName)
	case model.Headless:
		return headless(m, q, svc, t)
	}
	return through(m, q, svc, addr, t)
}

// String reads "tcp my-svc:80 from namespace shop on node n1".
func (q Question) String() string {
	s := strings.ToLower(q.Protocol.String()) + " " + q.Host + ":" + strconv.Itoa(int(q.Port))
	if q.Outside {
		s += " from outside the cluster"
	} else if q.Namespace != "" {
		s += " from namespace " + q.Namespace
	}
	if q.Node != "" {
		s += " on node " + q.Node
	}
	return s
}

// find gives the Service that is meant, and the address if one was asked for.
func find(m *compose.Model, q Question, t *Trail) (*model.Service, netip.Addr) {
	if addr, err := netip.ParseAddr(q.Host); err == nil || q.Host == "" {
		return byAddress(m, q, addr.Unmap(), t), addr.Unmap()
	}
	host := strings.TrimSuffix(strings.ToLower(q.Host), ".")
	for _, name := range candidates(host, q) {
		rest, ok := strings.CutSuffix(name, ".svc."+q.Domain)
		if !ok {
			t.reject("name", model.Origin{}, "%s is not in the cluster's domain", name)
			continue
		}
		labels := strings.Split(rest, ".")
		if len(labels) < 2 {
			t.reject("name", model.Origin{}, "%s names no Service", name)
			continue
		}
		key := store.Key{Namespace: labels[len(labels)-1], Name: labels[len(labels)-2]}
		if svc := m.Services.Read(key); svc != nil {
			t.step("name", svc.Origin, "%s is %s", name, svc.Origin)
			return svc, netip.Addr{}
		}
		t.reject("name", model.Origin{}, "%s: there is no Service %s", name, key)
	}
	return nil, netip.Addr{}
}

// candidates lists what a resolver with the usual search list (ndots 5) tries.
func candidates(host string, q Question) []string {
	out := []string{}
	if !strings.HasSuffix(host, "."+q.Domain) {
		if q.Namespace != "" {
			out = append(out, host+"."+q.Namespace+".svc."+q.Domain)
		}
		out = append(out, host+".svc."+q.Domain, host+"."+q.Domain)
	}
	return append(out, host)
}

// byAddress finds the Service that a packet to an address and port belongs to.
func byAddress(m *compose.Model, q Question, addr netip.Addr, t *Trail) *model.Service {
	for _, key := range m.ListServices() {
		svc := m.Services.Read(key)
		if svc == nil {
			continue
		}
		if !addr.IsValid() {
			for _, p := range svc.Ports {
				if p.NodePort == q.Port && p.Protocol == q.Protocol {
					t.step("node port", p.Origin.At(p.Origin.Field+".nodePort"), "%v %d on every node is %s", q.Protocol, q.Port, svc.Origin)
					return svc
				}
			}
			continue
		}
		for _, list := range [...]struct {
			addrs []netip.Addr
			field string
		}{{svc.ClusterIPs, "spec.clusterIPs"}, {svc.ExternalIPs, "spec.externalIPs"}, {svc.LoadBalancerIPs, "status.loadBalancer.ingress"}} {
			if !slices.Contains(list.addrs, addr) {
				continue
			}
			if list.field != "spec.clusterIPs" && !slices.ContainsFunc(svc.Ports, func(p model.Port) bool { return p.Port == q.Port && p.Protocol == q.Protocol }) {
				continue // another Service may share the address
			}
			t.step("address", svc.Origin.At(list.field), "%v is %s", addr, svc.Origin)
			return svc
		}
	}
	t.reject("address", model.Origin{}, "no Service has %v", Place(addr, q.Protocol, q.Port))
	return nil
}

// Place says where a client dials, for people.
func Place(addr netip.Addr, p model.Protocol, port uint16) string {
	return model.Claim{Addr: addr, Protocol: p, Port: port}.String()
}
