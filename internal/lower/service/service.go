package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

const (
	labelProxyName = "service.kubernetes.io/service-proxy-name"
	labelHeadless  = corev1.IsHeadlessService

	// annotationRequestedIPs asks for load-balancer addresses, separated by commas: one for each family, which spec.loadBalancerIP cannot.
	annotationRequestedIPs = "weftmesh.github.io/load-balancer-ips"

	defaultAffinity = 3 * time.Hour // ClientIPConfig.timeoutSeconds
)

func lowerService(s *corev1.Service, say report) *model.Service {
	if s == nil {
		return nil
	}
	at := finding.Object{Kind: "Service", Namespace: s.Namespace, Name: s.Name}
	out := &model.Service{
		Name:            model.ServiceName{Namespace: s.Namespace, Name: s.Name},
		InternalLocal:   s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		PublishNotReady: s.Spec.PublishNotReadyAddresses,
		Selectorless:    len(s.Spec.Selector) == 0,
		Origin:          model.Origin{Object: at},
	}
	_, other := s.Labels[labelProxyName]
	_, headless := s.Labels[labelHeadless]
	out.Unproxied = other || headless

	switch {
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		out.Kind = model.External
		out.ExternalName = externalName(s.Spec.ExternalName, at, say)
		out.Ports = lowerPorts(s, out.Origin, say) // for gateways: no kernel carries them
		for i := range out.Ports {
			out.Ports[i].NodePort = 0
		}
		return out
	case s.Spec.ClusterIP == corev1.ClusterIPNone:
		out.Kind = model.Headless
	}
	out.Ports = lowerPorts(s, out.Origin, say)
	for _, f := range s.Spec.IPFamilies {
		out.IPv4 = out.IPv4 || f == corev1.IPv4Protocol
		out.IPv6 = out.IPv6 || f == corev1.IPv6Protocol
	}
	if out.Kind == model.Headless {
		return out
	}

	clusterIPs := s.Spec.ClusterIPs
	if len(clusterIPs) == 0 && s.Spec.ClusterIP != "" {
		clusterIPs = []string{s.Spec.ClusterIP}
	}
	out.ClusterIPs = addresses(clusterIPs, at, "spec.clusterIPs", say)
	for _, a := range out.ClusterIPs {
		out.IPv4 = out.IPv4 || a.Is4()
		out.IPv6 = out.IPv6 || a.Is6()
	}
	out.ExternalIPs = addresses(s.Spec.ExternalIPs, at, "spec.externalIPs", say)
	out.ExternalLocal = s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.AffinityTimeout = defaultAffinity
		if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil && *c.ClientIP.TimeoutSeconds > 0 {
			out.AffinityTimeout = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		lowerLoadBalancer(s, out, say)
	}
	return out
}

func lowerLoadBalancer(s *corev1.Service, out *model.Service, say report) {
	at := out.Origin.Object
	out.LoadBalancer = true
	if s.Spec.LoadBalancerClass != nil {
		out.LoadBalancerClass = *s.Spec.LoadBalancerClass
	}
	if list := s.Annotations[annotationRequestedIPs]; list != "" {
		out.RequestedIn = "metadata.annotations[" + annotationRequestedIPs + "]"
		wanted := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
		out.RequestedIPs = addresses(wanted, at, out.RequestedIn, say)
	} else if s.Spec.LoadBalancerIP != "" {
		out.RequestedIn = "spec.loadBalancerIP"
		out.RequestedIPs = addresses([]string{s.Spec.LoadBalancerIP}, at, out.RequestedIn, say)
	}
	if out.ExternalLocal {
		out.HealthCheckNodePort = uint16(s.Spec.HealthCheckNodePort)
	}
	var ips []string
	for _, in := range s.Status.LoadBalancer.Ingress {
		// With ipMode Proxy (KEP-1860) the load balancer wants to see the traffic itself, also that from inside.
		if in.IP != "" && (in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP) {
			ips = append(ips, in.IP)
		}
	}
	out.LoadBalancerIPs = addresses(ips, at, "status.loadBalancer.ingress", say)
	out.Restricted = len(s.Spec.LoadBalancerSourceRanges) > 0
	for i, r := range s.Spec.LoadBalancerSourceRanges {
		p, err := netip.ParsePrefix(strings.TrimSpace(r))
		if err != nil {
			say.at(at, finding.Error, fmt.Sprintf("spec.loadBalancerSourceRanges[%d]", i), "invalid-range",
				fmt.Sprintf("%q is no address range, so it lets nobody in", r))
			continue
		}
		out.SourceRanges = append(out.SourceRanges, p.Masked())
	}
	slices.SortFunc(out.SourceRanges, func(a, b netip.Prefix) int { return a.Compare(b) })
	out.SourceRanges = slices.Compact(out.SourceRanges)
}

func lowerPorts(s *corev1.Service, origin model.Origin, say report) (out []model.Port) {
	for i, p := range s.Spec.Ports {
		field := fmt.Sprintf("spec.ports[%d]", i)
		proto, ok := model.ParseProtocol(string(p.Protocol))
		switch {
		case !ok:
			say.at(origin.Object, finding.Error, field+".protocol", "unknown-protocol", fmt.Sprintf("%q is none of TCP, UDP, SCTP; the port is left out", p.Protocol))
			continue
		case p.Port < 1 || p.Port > 65535:
			say.at(origin.Object, finding.Error, field+".port", "invalid-port", fmt.Sprintf("%d is no port number; the port is left out", p.Port))
			continue
		}
		port := model.Port{Name: p.Name, Protocol: proto, Port: uint16(p.Port), Origin: origin.At(field)}
		if p.NodePort < 0 || p.NodePort > 65535 {
			say.at(origin.Object, finding.Error, field+".nodePort", "invalid-port", fmt.Sprintf("%d is no port number; there is no node port", p.NodePort))
		} else if s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			port.NodePort = uint16(p.NodePort)
		}
		if p.AppProtocol != nil {
			port.AppProtocol = *p.AppProtocol
		}
		if port.Target = p.TargetPort.String(); port.Target == "0" {
			port.Target = fmt.Sprint(p.Port)
		}
		out = append(out, port)
	}
	return out
}

// externalName gives the name without its final dot, or "" if nothing can be published for it.
func externalName(name string, at finding.Object, say report) string {
	canonical := strings.ToLower(strings.TrimSuffix(name, "."))
	if _, err := netip.ParseAddr(canonical); err == nil {
		say.at(at, finding.Error, "spec.externalName", "external-name-is-address",
			fmt.Sprintf("%q is an address, and an alias can only lead to a name; use a Service without selector and an EndpointSlice", name))
		return ""
	}
	if errs := validation.IsDNS1123Subdomain(canonical); len(errs) > 0 {
		say.at(at, finding.Error, "spec.externalName", "invalid-name", fmt.Sprintf("%q is no DNS name: %s", name, errs[0]))
		return ""
	}
	return canonical
}

// addresses reads a list of addresses, sorted and each once; one that cannot be read costs only itself.
func addresses(list []string, at finding.Object, field string, say report) (out []netip.Addr) {
	for i, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.IsUnspecified() {
			say.at(at, finding.Error, fmt.Sprintf("%s[%d]", field, i), "invalid-address", fmt.Sprintf("%q is no address to carry traffic to; it is left out", s))
			continue
		}
		out = append(out, a.Unmap())
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
