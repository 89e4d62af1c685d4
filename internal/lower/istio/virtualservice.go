package istio

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// routes lowers the routes of one VirtualService.
type routes struct {
	opts      Options
	namespace string
	gateways  []model.GatewayName // that the VirtualService is bound to; nil in a delegate, which is bound where its root is
	hosts     []string
	spot
}

const kindVirtualService = "VirtualService"

// mesh is the reserved name of all sidecars among gateways.
const mesh = "mesh"

func (l *Lowered) lowerVirtualService(r *derive.Reader, k store.Key) *model.RouteSet {
	v := l.objects.VirtualServices.Get(r, k)
	if v == nil {
		return nil
	}
	if len(v.Spec.Hosts) == 0 {
		l.delegates.Get(r, k) // for what it has to say
		return nil
	}
	o := origin(kindVirtualService, v)
	s := &routes{opts: l.opts, namespace: v.Namespace, spot: specOf(o, r.Report)}
	s.gateways = s.bindings(v)
	for i, g := range s.gateways {
		if g.Kind == kindGateway && !l.exists.Get(r, store.Key(g.Name)) {
			s.at("gateways", i).warnf(codeNoGateway, "%v does not exist", g)
		}
	}
	if s.hosts = s.lowerHosts(v.Spec.Hosts); len(s.hosts) == 0 {
		return nil
	}
	if len(v.Spec.Http)+len(v.Spec.Tls)+len(v.Spec.Tcp) == 0 {
		s.errorf(codeMissing, "one of http, tls and tcp is needed")
	}
	out := &model.RouteSet{Hosts: s.hosts, Exported: s.exports(v.Spec.ExportTo, v.Namespace),
		Seniority: seniorityOf(kindVirtualService, v), Origin: model.Origin{Object: o.Object}}
	out.Gateways = slices.DeleteFunc(slices.Clone(s.gateways), func(g model.GatewayName) bool { return g == model.GatewayName{} })
	slices.SortFunc(out.Gateways, model.GatewayName.Compare)
	out.Gateways = slices.Compact(out.Gateways)
	for i, h := range v.Spec.Http {
		rule, ok := s.lowerRule(h, s.at("http", i))
		switch {
		case !ok:
		case h.GetDelegate() != nil:
			out.HTTP = append(out.HTTP, l.delegated(r, k, h, rule, s.at("http", i))...)
		default:
			out.HTTP = append(out.HTTP, rule.Route)
		}
	}
	out.TLS = s.lowerTLS(v.Spec.Tls)
	out.TCP = s.lowerTCP(v.Spec.Tcp)
	return out
}

// lowerHosts reads the hosts, fully qualified. One that a host before it stands for is left out, as it could match nothing.
func (s *routes) lowerHosts(list []string) (out []string) {
	meshOnly := !slices.ContainsFunc(s.gateways, func(g model.GatewayName) bool { return g.Kind == kindGateway })
	for i, in := range list {
		at := s.at("hosts", i)
		host := s.opts.qualify(in, s.namespace)
		wrong := wrongHost(host)
		switch {
		case wrong != "" && !isAddress(host):
			at.errorf(codeHost, "%q %s; it is left out", in, wrong)
		case host == "*" && meshOnly:
			at.errorf(codeHost, "%q is for gateways only, and no gateway is named", in)
		case slices.ContainsFunc(out, func(h string) bool { return covers(h, host) }):
			at.errorf(codeDoubled, "%q is said already; it is left out", in)
		default:
			out = append(out, host)
		}
	}
	return out
}

// bindings gives the gateways that a VirtualService names, in its order.
func (s *routes) bindings(v *networkingv1.VirtualService) []model.GatewayName {
	if len(v.Spec.Gateways) == 0 {
		return []model.GatewayName{{Kind: model.Mesh}}
	}
	return s.gatewayNames(v.Spec.Gateways)
}

func (s *routes) gatewayNames(list []string) (out []model.GatewayName) {
	for i, name := range list {
		g, ok := gatewayName(name, s.namespace)
		if !ok {
			s.at("gateways", i).errorf(codeGateway, "%q is not NAME, NAMESPACE/NAME or mesh; it is left out", name)
			g = model.GatewayName{} // still in the list: a match that is limited to it must not become one that is not
		}
		out = append(out, g)
	}
	return out
}

// gatewayName reads NAME, NAMESPACE/NAME, "./NAME", the old NAME.NAMESPACE.svc.DOMAIN, or "mesh".
func gatewayName(in, own string) (model.GatewayName, bool) {
	if in == mesh {
		return model.GatewayName{Kind: model.Mesh}, true
	}
	namespace, name, both := strings.Cut(in, "/")
	switch {
	case !both && strings.Contains(in, "."):
		name, namespace, _ = strings.Cut(in, ".")
		namespace, _, _ = strings.Cut(namespace, ".")
	case !both:
		namespace, name = own, in
	case namespace == ".":
		namespace = own
	}
	g := model.GatewayName{Kind: kindGateway, Name: model.ObjectName{Namespace: namespace, Name: name}}
	return g, len(validation.IsDNS1123Label(namespace)) == 0 && len(validation.IsDNS1123Subdomain(name)) == 0
}

// boundTo is the index by gateway: where the routes of a VirtualService hold.
func boundTo(v *networkingv1.VirtualService) []model.GatewayName {
	if len(v.Spec.Hosts) == 0 {
		return nil
	}
	return (&routes{namespace: v.Namespace, spot: silent}).bindings(v)
}

// meshHosts is the index by host: which hosts a VirtualService names for sidecars.
func (o Options) meshHosts(v *networkingv1.VirtualService) (hosts []string) {
	if !slices.Contains(boundTo(v), model.GatewayName{Kind: model.Mesh}) {
		return nil
	}
	for _, h := range v.Spec.Hosts {
		hosts = append(hosts, o.qualify(h, v.Namespace))
	}
	return hosts
}

// nowhere is what comes of a destination that is none.
const nowhere = "what is sent there is answered 503"

// destination reads where a rule leads. What is none has no host, and leads nowhere; otherwise says what comes of it.
func (s *routes) destination(d *networking.Destination, at spot, otherwise string) (out model.Destination) {
	switch {
	case d == nil:
		at.errorf(codeMissing, "is needed; %s", otherwise)
		return out
	case d.Host == "":
		at.in("host").errorf(codeMissing, "is needed; %s", otherwise)
		return out
	}
	host := s.opts.qualify(d.Host, s.namespace)
	if wrong := wrongHost(host); host == "*" || wrong != "" && !isAddress(host) {
		at.in("host").errorf(codeHost, "%q is no host to send to; %s", d.Host, otherwise)
		return out
	}
	if d.Subset != "" && len(validation.IsDNS1123Label(d.Subset)) > 0 {
		at.in("subset").errorf(codeName, "%q is no name of a subset; %s", d.Subset, otherwise)
		return out
	}
	var port uint16
	if d.Port != nil {
		if port = at.in("port.number").port(d.Port.Number); port == 0 {
			return out
		}
	}
	return model.Destination{Host: host, Port: port, Subset: d.Subset}
}
