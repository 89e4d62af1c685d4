package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

type portKey struct {
	name     string
	protocol model.Protocol
}

// union gathers the endpoints of all slices of a Service.
type union struct {
	ports map[portKey]map[netip.AddrPort]model.Endpoint
	say   report
}

func lowerEndpoints(k store.Key, list []*discoveryv1.EndpointSlice, say report) *model.Endpoints {
	u := union{ports: map[portKey]map[netip.AddrPort]model.Endpoint{}, say: say}
	for _, s := range list {
		u.add(s)
	}
	out := &model.Endpoints{Service: model.ServiceName(k), Ports: make([]model.PortEndpoints, 0, len(u.ports))}
	for key, eps := range u.ports {
		pe := model.PortEndpoints{Port: key.name, Protocol: key.protocol, Endpoints: make([]model.Endpoint, 0, len(eps))}
		for _, e := range eps {
			pe.Endpoints = append(pe.Endpoints, e)
		}
		slices.SortFunc(pe.Endpoints, model.Endpoint.Compare)
		out.Ports = append(out.Ports, pe)
	}
	slices.SortFunc(out.Ports, model.ComparePorts)
	return out
}

func (u *union) add(s *discoveryv1.EndpointSlice) {
	at := finding.Object{Kind: "EndpointSlice", Namespace: s.Namespace, Name: s.Name}
	if s.AddressType != discoveryv1.AddressTypeIPv4 && s.AddressType != discoveryv1.AddressTypeIPv6 {
		u.say.at(at, finding.Warning, "addressType", "unsupported-address-type", fmt.Sprintf("%q is neither IPv4 nor IPv6; its endpoints are left out", s.AddressType))
		return
	}
	ports := u.portsOf(s, at)
	if len(ports) == 0 {
		return
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		field := fmt.Sprintf("endpoints[%d]", i)
		base := model.Endpoint{Origin: model.Origin{Object: at}, Ready: e.Conditions.Ready == nil || *e.Conditions.Ready, Terminating: isTrue(e.Conditions.Terminating)}
		base.Serving = base.Ready
		if e.Conditions.Serving != nil {
			base.Serving = *e.Conditions.Serving
		}
		if e.Hostname != nil {
			base.Hostname = *e.Hostname
		}
		if e.NodeName != nil {
			base.Node = *e.NodeName
		}
		if e.Zone != nil {
			base.Zone = *e.Zone
		}
		if e.Hints != nil {
			base.HintNodes = names(e.Hints.ForNodes, func(n discoveryv1.ForNode) string { return n.Name })
			base.HintZones = names(e.Hints.ForZones, func(z discoveryv1.ForZone) string { return z.Name })
		}
		if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
			base.Workload = e.TargetRef.Name
		}
		// All addresses of one endpoint are the same endpoint (EndpointSlice API): the first stands for it.
		if len(e.Addresses) == 0 {
			continue
		}
		addr, ok := u.address(e.Addresses[0], s.AddressType, at, field)
		if !ok {
			continue
		}
		for _, p := range ports {
			base.AddrPort = netip.AddrPortFrom(addr, p.number)
			u.put(p.portKey, base)
		}
	}
}

// put adds an endpoint; while a Pod moves from one slice to another it may be in both, and then the one that is ready counts.
func (u *union) put(k portKey, e model.Endpoint) {
	m := u.ports[k]
	if m == nil {
		m = map[netip.AddrPort]model.Endpoint{}
		u.ports[k] = m
	}
	if old, has := m[e.AddrPort]; has && (old.Ready || !e.Ready) {
		return
	}
	m[e.AddrPort] = e
}

type slicePort struct {
	portKey
	number uint16
}

func (u *union) portsOf(s *discoveryv1.EndpointSlice, at finding.Object) (out []slicePort) {
	if len(s.Ports) == 0 { // a headless Service without ports
		return []slicePort{{portKey{"", model.TCP}, 0}}
	}
	for i, p := range s.Ports {
		field := fmt.Sprintf("ports[%d]", i)
		sp := slicePort{}
		if p.Name != nil {
			sp.name = *p.Name
		}
		var proto corev1.Protocol
		if p.Protocol != nil {
			proto = *p.Protocol
		}
		var ok bool
		if sp.protocol, ok = model.ParseProtocol(string(proto)); !ok {
			u.say.at(at, finding.Error, field+".protocol", "unknown-protocol", fmt.Sprintf("%q is none of TCP, UDP, SCTP; the port is left out", proto))
			continue
		}
		if p.Port == nil || *p.Port < 1 || *p.Port > 65535 {
			shown := "no number"
			if p.Port != nil {
				shown = fmt.Sprint(*p.Port)
			}
			u.say.at(at, finding.Error, field+".port", "invalid-port", shown+" is no port that traffic can be sent to; the port is left out")
			continue
		}
		sp.number = uint16(*p.Port)
		out = append(out, sp)
	}
	return out
}

func (u *union) address(s string, family discoveryv1.AddressType, at finding.Object, field string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Zone() != "" || a.IsUnspecified():
		u.say.at(at, finding.Error, field+".addresses[0]", "invalid-address", fmt.Sprintf("%q is no address to carry traffic to; the endpoint is left out", s))
		return netip.Addr{}, false
	case a.Unmap().Is4() != (family == discoveryv1.AddressTypeIPv4):
		u.say.at(at, finding.Error, field+".addresses[0]", "wrong-family", fmt.Sprintf("%q is not %s, as addressType says; the endpoint is left out", s, family))
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// names joins the names of a list, sorted.
func names[T any](list []T, name func(T) string) string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = name(x)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func isTrue(b *bool) bool { return b != nil && *b }
