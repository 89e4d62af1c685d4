package istio

import (
	"cmp"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

const kindDestinationRule = "DestinationRule"

// lowerDestinationRule gives nil for a rule that is for no host, or for no client.
func (o Options) lowerDestinationRule(d *networkingv1.DestinationRule, say func(finding.Finding)) *model.DestinationPolicy {
	if d == nil {
		return nil
	}
	s := specOf(origin(kindDestinationRule, d), say)
	out := &model.DestinationPolicy{
		Host: o.qualify(d.Spec.Host, d.Namespace), Exported: s.exports(d.Spec.ExportTo, d.Namespace),
		Seniority: seniorityOf(kindDestinationRule, d), Origin: model.Origin{Object: s.where.Object},
	}
	if d.Spec.Host == "" {
		s.in("host").errorf(codeMissing, "is needed; the rule has no effect")
		return nil
	}
	if wrong := wrongHost(out.Host); wrong != "" {
		s.in("host").errorf(codeHost, "%q %s; the rule has no effect", d.Spec.Host, wrong)
		return nil
	}
	if sel := d.Spec.WorkloadSelector; sel != nil {
		at := s.in("workloadSelector")
		var ok bool
		if out.Selector, ok = at.labels("matchLabels", sel.MatchLabels); !ok {
			return nil
		}
		if len(sel.MatchLabels) == 0 {
			at.warnf(codeNoEffect, "without labels it is for all clients of the namespace")
		}
		out.Exported = []string{d.Namespace} // a rule for some clients is for those of its own namespace
	}
	out.Policy, out.Ports = s.in("trafficPolicy").trafficPolicy(d.Spec.TrafficPolicy)
	for i, sub := range d.Spec.Subsets {
		at := s.at("subsets", i)
		if lowered, ok := at.subset(sub, out.Subsets); ok {
			out.Subsets = append(out.Subsets, lowered)
		}
	}
	return out
}

func (s spot) subset(in *networking.Subset, before []model.Subset) (out model.Subset, ok bool) {
	name := in.GetName()
	if len(validation.IsDNS1123Label(name)) > 0 {
		s.in("name").errorf(codeName, "%q is no name of a subset; it is left out", name)
		return out, false
	}
	if slices.ContainsFunc(before, func(o model.Subset) bool { return o.Name == name }) {
		s.in("name").errorf(codeSubset, "%q is said before; this one has no effect", name)
		return out, false
	}
	out = model.Subset{Name: name, Origin: s.where}
	if out.Labels, ok = s.labels("labels", in.GetLabels()); !ok {
		return out, false
	}
	out.Policy, out.Ports = s.in("trafficPolicy").trafficPolicy(in.GetTrafficPolicy())
	return out, true
}

// settings are what can be said of a host and of a port.
type settings interface {
	GetLoadBalancer() *networking.LoadBalancerSettings
	GetConnectionPool() *networking.ConnectionPoolSettings
	GetOutlierDetection() *networking.OutlierDetection
	GetTls() *networking.ClientTLSSettings
}

func (s spot) settings(in settings) model.TrafficPolicy {
	return model.TrafficPolicy{
		LoadBalancer: s.in("loadBalancer").loadBalancer(in.GetLoadBalancer()), Connections: s.in("connectionPool").connectionPool(in.GetConnectionPool()),
		Outlier: s.in("outlierDetection").outlierDetection(in.GetOutlierDetection()), TLS: s.in("tls").clientTLS(in.GetTls()),
	}
}

func (s spot) trafficPolicy(in *networking.TrafficPolicy) (out model.TrafficPolicy, ports []model.PortPolicy) {
	if in == nil {
		return out, nil
	}
	out = s.settings(in)
	switch p := in.ProxyProtocol; {
	case p == nil:
	case p.Version != networking.TrafficPolicy_ProxyProtocol_V1 && p.Version != networking.TrafficPolicy_ProxyProtocol_V2:
		s.in("proxyProtocol.version").errorf(codeValue, "%v is neither V1 nor V2; the PROXY protocol is not used", p.Version)
	case in.Tunnel != nil:
		s.in("proxyProtocol").errorf(codeConflict, "cannot be used beside tunnel")
	default:
		out.ProxyProtocol = uint8(p.Version) + 1
	}
	if in.Tunnel != nil {
		s.in("tunnel").errorf(codeUnsupported, "is not supported; connections are not tunnelled")
	}
	s.in("retryBudget").unsupported(in.RetryBudget != nil)
	for i, p := range in.PortLevelSettings {
		at := s.at("portLevelSettings", i)
		if p.GetPort() == nil {
			at.in("port").errorf(codeMissing, "is needed; the settings are left out")
			continue
		}
		number := at.in("port.number").port(p.Port.Number)
		if number == 0 {
			continue
		}
		if slices.ContainsFunc(ports, func(o model.PortPolicy) bool { return o.Port == number }) {
			at.in("port.number").errorf(codeDoubled, "%d is said before; the settings are left out", number)
			continue
		}
		ports = append(ports, model.PortPolicy{Port: number, Policy: at.settings(p)})
	}
	slices.SortFunc(ports, func(a, b model.PortPolicy) int { return cmp.Compare(a.Port, b.Port) })
	if out == (model.TrafficPolicy{}) && len(ports) == 0 && in.Tunnel == nil && in.ProxyProtocol == nil && in.RetryBudget == nil {
		s.warnf(codeNoEffect, "says nothing")
	}
	return out, ports
}
