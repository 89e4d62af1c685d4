package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// hostKey is a host as the clients of one namespace see it.
type hostKey struct{ From, Host string }

// clientsKey is a host as some clients of one namespace see it.
type clientsKey struct {
	hostKey
	labels model.Labels // theirs; "" are those of whom nothing is known
}

// host is what has to be known of a host to lead somewhere: not its endpoints, nor how they are treated.
type host struct {
	service model.ServiceName // zero if it is none
	entry   *model.HostEntry  // nil if it is a Service
	alias   string            // the name that it stands for; of a Service
	byDNS   bool              // its endpoints are found by DNS
	ports   []hostPort
	anyPort bool // whatever port is asked for is there
	origin  model.Origin
}

// hostPort is a port of a host.
type hostPort struct {
	name   string
	number uint16
	target uint16 // where endpoints that are declared one by one serve it, if they do not say

	protocol model.AppProtocol
}

// hostOf finds what a host is: a Service, else what is declared beside them.
func (e *Edge) hostOf(r *derive.Reader, k hostKey) *host {
	if name, ok := e.serviceName(k.Host); ok {
		if s := e.m.Services.Get(r, store.Key(name)); s != nil {
			return hostOfService(s)
		}
	}
	if e.o.Entry == nil {
		return nil
	}
	entry := e.o.Entry(r, k.Host, k.From)
	if entry == nil {
		return nil
	}
	h := &host{entry: entry, origin: entry.Origin}
	for _, p := range entry.Ports {
		h.ports = append(h.ports, hostPort{name: p.Name, number: p.Port, target: cmp.Or(p.Target, p.Port), protocol: protocolOf(p.Protocol, "")})
	}
	h.byDNS = entry.Resolution == model.ResolveDNS || entry.Resolution == model.ResolveDNSOne
	return h
}

func hostOfService(s *model.Service) *host {
	h := &host{service: s.Name, origin: s.Origin}
	if s.Kind == model.External {
		h.alias, h.byDNS, h.anyPort = s.ExternalName, true, len(s.Ports) == 0
	}
	for _, p := range s.Ports {
		if p.Protocol == model.TCP {
			target, err := strconv.ParseUint(p.Target, 10, 16)
			if err != nil || target == 0 {
				target = uint64(p.Port)
			}
			h.ports = append(h.ports, hostPort{name: p.Name, number: p.Port, target: uint16(target), protocol: protocolOf(p.AppProtocol, p.Name)})
		}
	}
	return h
}

// serviceName reads "web.shop.svc.cluster.local".
func (e *Edge) serviceName(host string) (model.ServiceName, bool) {
	rest, ok := strings.CutSuffix(host, ".svc."+e.o.Domain)
	name, namespace, two := strings.Cut(rest, ".")
	return model.ServiceName{Namespace: namespace, Name: name}, ok && two && !strings.Contains(namespace, ".")
}

// protocolOf is Istio's protocol selection: by appProtocol, or else by the first word of the port's name.
func protocolOf(appProtocol, name string) model.AppProtocol {
	protocol := strings.ToLower(appProtocol)
	if protocol == "" {
		protocol = strings.ToLower(name)
		if !strings.HasPrefix(protocol+"-", "grpc-web-") {
			protocol, _, _ = strings.Cut(protocol, "-")
		} else {
			protocol = "grpc-web"
		}
	}
	switch protocol {
	case "http2", "grpc", "grpc-web", "kubernetes.io/h2c":
		return model.ProtocolHTTP2
	case "http", "kubernetes.io/ws": // WebSocket begins as HTTP/1.1
		return model.ProtocolHTTP
	case "tcp", "mongo", "mysql", "redis":
		return model.ProtocolTCP
	case "tls", "https", "kubernetes.io/wss":
		return model.ProtocolTLS
	}
	return model.ProtocolAuto
}

// port finds a port by its number.
func (h *host) port(number uint16) (hostPort, bool) {
	for _, p := range h.ports {
		if p.number == number {
			return p, true
		}
	}
	return hostPort{number: number}, h.anyPort
}

// policyOf merges what several objects say of one host: the one with the best right says how it is treated, and all of them what subsets it has.
// What is for other clients, by their labels, does not count.
func (e *Edge) policyOf(r *derive.Reader, k clientsKey) *model.DestinationPolicy {
	if e.o.Policies == nil {
		return nil
	}
	var out *model.DestinationPolicy
	for _, p := range e.o.Policies(r, k.Host, k.From) {
		switch {
		case !k.labels.Match(p.Selector):
		case out == nil:
			out = p
		default:
			merged := *out
			merged.Subsets = slices.Clone(out.Subsets)
			for _, s := range p.Subsets {
				if !slices.ContainsFunc(merged.Subsets, func(o model.Subset) bool { return o.Name == s.Name }) {
					merged.Subsets = append(merged.Subsets, s)
				}
			}
			out = &merged
		}
	}
	return out
}

func subsetOf(p *model.DestinationPolicy, name string) *model.Subset {
	if p != nil {
		for i := range p.Subsets {
			if p.Subsets[i].Name == name {
				return &p.Subsets[i]
			}
		}
	}
	return nil
}

// hasSubset tells whether a host has a subset in the eyes of some clients of a namespace.
func (e *Edge) hasSubset(r *derive.Reader, k hostKey, name string) bool {
	if subsetOf(e.policies.Get(r, clientsKey{hostKey: k}), name) != nil {
		return true
	}
	return e.ForSome.Get(r, ClientsOf{k.From, k.Host}) && slices.ContainsFunc(e.o.Policies(r, k.Host, k.From), func(p *model.DestinationPolicy) bool { return subsetOf(p, name) != nil })
}

// resolveKey is a destination as declared, on the way from a listener.
type resolveKey struct {
	From     string
	Sidecar  bool
	Listener uint16
	model.Destination
}

// resolution is where a destination leads.
type resolution struct {
	port    uint16
	code    string // "" if it is there, else the code of a finding
	message string
	doubt   bool // it leads somewhere, though perhaps not where its author thinks
}

// resolve finds the number of the port, and whether there is anything.
func (e *Edge) resolve(r *derive.Reader, k resolveKey) resolution {
	h := e.hosts.Get(r, hostKey{k.From, k.Host})
	if h == nil {
		return resolution{port: k.Port, code: "no-such-host", message: fmt.Sprintf("there is no Service or other host %s; requests are answered 503", k.Host)}
	}
	if h.entry != nil && h.entry.Resolution == model.ResolveNone && !k.Sidecar {
		return resolution{port: k.Port, code: "no-such-host", message: fmt.Sprintf("%v has no endpoints of its own (resolution NONE), so that only a sidecar can lead there; requests are answered 503", h.origin)}
	}
	out := resolution{port: k.Port}
	switch {
	case k.Port != 0:
		if _, ok := h.port(k.Port); !ok {
			return resolution{port: k.Port, code: "no-such-port", message: fmt.Sprintf("%v has no port %d; requests are answered 503", h.origin, k.Port)}
		}
	case k.PortName != "":
		i := slices.IndexFunc(h.ports, func(p hostPort) bool { return p.name == k.PortName })
		if i < 0 {
			return resolution{code: "no-such-port", message: fmt.Sprintf("%v has no port called %s; requests are answered 503", h.origin, k.PortName)}
		}
		out.port = h.ports[i].number
	case len(h.ports) == 1:
		out.port = h.ports[0].number
	default:
		if _, ok := h.port(k.Listener); !ok {
			return resolution{code: "ambiguous-port", message: fmt.Sprintf("%v has %d ports and none is named; requests are answered 503", h.origin, len(h.ports))}
		}
		out.port = k.Listener // as Istio does
		if !h.anyPort {
			out.code, out.doubt = "ambiguous-port", true
			out.message = fmt.Sprintf("%v has %d ports and none is named; %d is used, because that is the port they came to", h.origin, len(h.ports), k.Listener)
		}
	}
	if k.Subset != "" && !e.hasSubset(r, hostKey{k.From, k.Host}, k.Subset) {
		return resolution{port: out.port, code: "no-such-subset", message: fmt.Sprintf("no DestinationRule for %s has a subset %s; requests are answered 503", k.Host, k.Subset)}
	}
	return out
}
