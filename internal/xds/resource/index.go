package resource

import (
	"net/netip"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

// HostName is what a host is called in the index: "NAMESPACE/HOST".
func HostName(h *model.MeshHost) string { return utf8(h.Namespace + "/" + h.Host) }

var protocols = map[model.AppProtocol]meshpb.Protocol{
	model.ProtocolAuto: meshpb.Protocol_AUTO, model.ProtocolHTTP: meshpb.Protocol_HTTP, model.ProtocolHTTP2: meshpb.Protocol_HTTP2,
	model.ProtocolTCP: meshpb.Protocol_TCP, model.ProtocolTLS: meshpb.Protocol_TLS,
}

// Rules gives the rules for connections to a host at a port, in the eyes of some clients; nil: nobody says anything.
type Rules func(h *model.MeshHost, port uint16) []model.ConnectionRule

// IndexedHost says a host as the index has it. rules may be nil.
func IndexedHost(h *model.MeshHost, rules Rules) *meshpb.Service {
	out := &meshpb.Service{
		Host: utf8(h.Host), Namespace: utf8(h.Namespace), Addresses: addresses(h.Addresses), Headless: h.Headless, SubjectAltNames: h.Identities,
		Anywhere: h.Anywhere,
	}
	for _, p := range h.Prefixes {
		out.Prefixes = append(out.Prefixes, indexedPrefix(p))
	}
	for _, p := range h.Ports {
		port := &meshpb.Port{Number: uint32(p.Port), Protocol: protocols[p.Protocol], MeshTls: p.TLS}
		if rules != nil {
			for _, rule := range rules(h, p.Port) {
				port.Rules = append(port.Rules, indexedRule(&rule))
			}
		}
		out.Ports = append(out.Ports, port)
	}
	return out
}

func indexedPrefix(p netip.Prefix) *meshpb.Prefix {
	return &meshpb.Prefix{Address: p.Addr().AsSlice(), Length: uint32(p.Bits())}
}

func indexedRule(rule *model.ConnectionRule) *meshpb.Rule {
	out := &meshpb.Rule{Origin: utf8(rule.Origin.String())}
	for _, p := range rule.Subnets {
		out.Subnets = append(out.Subnets, indexedPrefix(p))
	}
	for _, name := range rule.SNI {
		out.ServerNames = append(out.ServerNames, utf8(name))
	}
	for _, to := range shares(rule.To) {
		out.To = append(out.To, &meshpb.Share{Cluster: utf8(to.GetName()), Weight: to.GetWeight()})
	}
	return out
}

// IndexedWorkload says who runs at an address as the index has it.
func IndexedWorkload(w *model.MeshWorkload) *meshpb.Workload {
	out := &meshpb.Workload{
		Addresses: addresses(w.Addresses), Namespace: utf8(w.Name.Namespace), Name: utf8(w.Name.Name), ServiceAccount: utf8(w.Account), Workload: utf8(w.Owner.Workload),
		CanonicalName: utf8(w.Owner.Name), CanonicalRevision: utf8(w.Owner.Revision), App: utf8(w.App), Version: utf8(w.Version), MeshTls: w.TLS,
		Identity: utf8(w.Identity), Cluster: clusterID,
	}
	for _, p := range w.Plaintext {
		out.PlaintextPorts = append(out.PlaintextPorts, uint32(p))
	}
	return out
}

func addresses(list []netip.Addr) (out [][]byte) {
	for _, a := range list {
		out = append(out, a.AsSlice())
	}
	return out
}
