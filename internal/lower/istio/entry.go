package istio

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

const (
	kindServiceEntry  = "ServiceEntry"
	kindWorkloadEntry = "WorkloadEntry"
)

func (l *Lowered) defineEntries(db *derive.DB) {
	byHost := store.NewIndex(l.objects.ServiceEntries, "host", func(e *networkingv1.ServiceEntry) (hosts []string) {
		for _, h := range e.Spec.Hosts {
			hosts = append(hosts, canonical(h))
		}
		return hosts
	})
	byNamespace := store.NewIndex(l.objects.WorkloadEntries, "namespace", func(e *networkingv1.WorkloadEntry) []string { return []string{e.Namespace} })
	l.Entries = derive.Define(db, "lower/istio/entry", same[model.HostEntry], func(r *derive.Reader, k store.Key) *model.HostEntry {
		return lowerServiceEntry(l.objects.ServiceEntries.Get(r, k), r.Report)
	})
	l.declared = derive.Define(db, "lower/istio/entries of host", sameList, func(r *derive.Reader, host string) []store.Key {
		return bySeniority[networkingv1.ServiceEntry](kindServiceEntry, byHost.List(r, host))
	})
	l.Workloads = derive.Define(db, "lower/istio/workload", same[model.EntryEndpoint], func(r *derive.Reader, k store.Key) *model.EntryEndpoint {
		return lowerWorkloadEntry(l.objects.WorkloadEntries.Get(r, k), r.Report)
	})
	l.members = derive.Define(db, "lower/istio/workloads of namespace", sameList, func(r *derive.Reader, namespace string) (keys []store.Key) {
		for _, e := range byNamespace.List(r, namespace) {
			keys = append(keys, keyOf(e))
		}
		return keys
	})
}

func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// EntryFor gives the ServiceEntry that declares a host in the eyes of the clients of a namespace, nil if none does. A host that is declared by
// name goes before one that is meant by a wildcard; of those that are alike, that of the clients' own namespace goes first, then seniority.
func (l *Lowered) EntryFor(r *derive.Reader, host, namespace string) *model.HostEntry {
	for _, pattern := range patterns(host) {
		var first *model.HostEntry
		for _, k := range l.declared.Get(r, pattern) {
			e := l.Entries.Get(r, k)
			if e == nil || !slices.Contains(e.Hosts, pattern) || !visible(e.Exported, namespace) {
				continue
			}
			if k.Namespace == namespace {
				return e
			}
			if first == nil {
				first = e
			}
		}
		if first != nil {
			return first
		}
	}
	return nil
}

// WorkloadEndpoints gives the WorkloadEntries of a namespace that have these labels, sorted by name. The empty selector gives none.
func (l *Lowered) WorkloadEndpoints(r *derive.Reader, namespace string, selector model.Labels) (out []*model.EntryEndpoint) {
	if selector == "" {
		return nil
	}
	for _, k := range l.members.Get(r, namespace) {
		if e := l.Workloads.Get(r, k); e != nil && e.Labels.Match(selector) {
			out = append(out, e)
		}
	}
	return out
}

var resolutions = map[networking.ServiceEntry_Resolution]model.Resolution{
	networking.ServiceEntry_NONE: model.ResolveNone, networking.ServiceEntry_STATIC: model.ResolveStatic, networking.ServiceEntry_DNS: model.ResolveDNS,
	networking.ServiceEntry_DNS_ROUND_ROBIN: model.ResolveDNSOne,
}

// lowerServiceEntry gives nil for one that declares no host.
func lowerServiceEntry(e *networkingv1.ServiceEntry, say func(finding.Finding)) *model.HostEntry {
	if e == nil {
		return nil
	}
	s := specOf(origin(kindServiceEntry, e), say)
	resolution, known := resolutions[e.Spec.Resolution]
	if !known {
		s.in("resolution").errorf(codeUnsupported, "%v is not supported; the ServiceEntry has no effect", e.Spec.Resolution)
		return nil
	}
	out := &model.HostEntry{
		Hosts: s.entryHosts(e.Spec.Hosts), Addresses: s.entryAddresses(e.Spec.Addresses), Ports: s.entryPorts(e.Spec.Ports), Resolution: resolution,
		External: e.Spec.Location == networking.ServiceEntry_MESH_EXTERNAL, SANs: e.Spec.SubjectAltNames, Exported: s.exports(e.Spec.ExportTo, e.Namespace),
		Seniority: seniorityOf(kindServiceEntry, e), Origin: model.Origin{Object: s.where.Object},
	}
	if len(out.Hosts) == 0 {
		return nil
	}
	if sel := e.Spec.WorkloadSelector; sel != nil {
		at := s.in("workloadSelector")
		out.Selector, _ = at.labels("labels", sel.Labels)
		if len(sel.Labels) == 0 {
			at.warnf(codeNoEffect, "without labels it selects nothing")
		}
	}
	switch {
	case resolution == model.ResolveNone && len(e.Spec.Endpoints) > 0:
		s.in("endpoints").errorf(codeConflict, "has no effect with resolution NONE")
		return out
	case e.Spec.WorkloadSelector != nil && len(e.Spec.Endpoints) > 0:
		s.in("endpoints").errorf(codeConflict, "has no effect beside workloadSelector")
		return out
	}
	for i, in := range e.Spec.Endpoints {
		at := s.at("endpoints", i)
		if ep, ok := at.endpoint(in, nil, resolution != model.ResolveStatic); ok {
			out.Endpoints = append(out.Endpoints, ep)
		}
	}
	return out
}

func (s spot) entryHosts(list []string) (out []string) {
	if len(list) == 0 {
		s.in("hosts").errorf(codeMissing, "a ServiceEntry needs a host")
	}
	for i, h := range list {
		host := canonical(h)
		wrong := wrongHost(host)
		if host == "*" {
			wrong = "would stand for every host"
		}
		switch {
		case wrong != "":
			s.at("hosts", i).errorf(codeHost, "%q %s; it is left out", h, wrong)
		case slices.Contains(out, host):
			s.at("hosts", i).warnf(codeDoubled, "%q is named before", h)
		default:
			out = append(out, host)
		}
	}
	return out
}

func (s spot) entryAddresses(list []string) (out []netip.Prefix) {
	for i, a := range list {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(a); err == nil && addr.Zone() == "" {
				p = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
			}
		}
		if err != nil || !p.IsValid() {
			s.at("addresses", i).errorf(codeAddress, "%q is neither an address nor a range of addresses; it is left out", a)
			continue
		}
		out = append(out, p.Masked())
	}
	return out
}

func (s spot) entryPorts(list []*networking.ServicePort) (out []model.EntryPort) {
	for i, in := range list {
		at := s.at("ports", i)
		p := model.EntryPort{Name: in.GetName(), Protocol: strings.ToUpper(in.GetProtocol()), Origin: at.where}
		if p.Port = at.in("number").port(in.GetNumber()); p.Port == 0 {
			continue
		}
		if in.TargetPort != 0 {
			p.Target = at.in("targetPort").port(in.TargetPort)
		}
		_, known := protocols[strings.ToLower(p.Protocol)]
		switch {
		case p.Protocol != "" && !known:
			at.in("protocol").errorf(codeProtocol, "%q is not one of HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, REDIS, MYSQL; the port is left out", in.Protocol)
			continue
		case len(validation.IsDNS1123Label(p.Name)) > 0:
			at.in("name").errorf(codeName, "%q is no name of a port; the port is left out", p.Name)
			continue
		case slices.ContainsFunc(out, func(o model.EntryPort) bool { return o.Name == p.Name || o.Port == p.Port }):
			at.errorf(codeDoubled, "its name or its number is said before; the port is left out")
			continue
		}
		out = append(out, p)
	}
	return out
}

// lowerWorkloadEntry gives nil for one that nothing can be sent to.
func lowerWorkloadEntry(e *networkingv1.WorkloadEntry, say func(finding.Finding)) *model.EntryEndpoint {
	if e == nil {
		return nil
	}
	out, ok := specOf(origin(kindWorkloadEntry, e), say).endpoint(&e.Spec, e.Labels, true)
	if !ok {
		return nil
	}
	out.Name = model.ObjectName{Namespace: e.Namespace, Name: e.Name}
	out.Origin.Field = ""
	return &out
}

// endpoint reads a WorkloadEntry, or an endpoint of a ServiceEntry, which is declared alike. more are the object's own labels, which count where
// both have one. names says that it may be a DNS name.
func (s spot) endpoint(in *networking.WorkloadEntry, more map[string]string, names bool) (out model.EntryEndpoint, ok bool) {
	out = model.EntryEndpoint{ServiceAccount: in.GetServiceAccount(), Weight: in.GetWeight(), Origin: s.where}
	s.in("network").unsupported(in.GetNetwork() != "")
	s.in("locality").unsupported(in.GetLocality() != "")
	at, address := s.in("address"), in.GetAddress()
	addr, err := netip.ParseAddr(address)
	switch {
	case address == "":
		at.errorf(codeMissing, "is needed; nothing is sent there")
		return out, false
	case strings.HasPrefix(address, "unix://"):
		at.errorf(codeUnsupported, "sockets of the host are not supported; nothing is sent there")
		return out, false
	case err == nil && (addr.Zone() != "" || addr.IsUnspecified()), err != nil && (!names || wrongName(canonical(address)) != ""):
		at.errorf(codeAddress, "%q is nothing that traffic can be carried to; it is left out", address)
		return out, false
	case err == nil:
		out.Addr = addr.Unmap()
	default:
		out.Host = canonical(address)
	}
	set := make(map[string]string, len(in.GetLabels())+len(more))
	maps.Copy(set, in.GetLabels())
	maps.Copy(set, more)
	if out.Labels, ok = s.labels("labels", set); !ok {
		return out, false
	}
	for _, name := range slices.Sorted(maps.Keys(in.GetPorts())) {
		number := in.Ports[name]
		if number < 1 || number > 65535 {
			s.key("ports", name).errorf(codePort, "%d is no port number; it is left out", number)
			continue
		}
		out.Ports = append(out.Ports, model.EntryTarget{Name: name, Port: uint16(number)})
	}
	return out, true
}
