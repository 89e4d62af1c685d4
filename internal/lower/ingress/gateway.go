package ingress

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// The ports of an Ingress: the API knows no others.
const (
	portHTTP  = 80
	portHTTPS = 443
)

// anyHost stands for a rule without a host.
const anyHost = "*"

func nameOf(in *networkingv1.Ingress) model.GatewayName {
	return model.GatewayName{Kind: Kind, Name: model.ObjectName{Namespace: in.Namespace, Name: in.Name}}
}

func seniority(in *networkingv1.Ingress) model.Seniority {
	return model.Seniority{Created: max(in.CreationTimestamp.Unix(), 0), Kind: Kind, Name: nameOf(in).Name}
}

func origin(in *networkingv1.Ingress, format string, args ...any) model.Origin {
	return model.Origin{Object: objectOf(in), Field: fmt.Sprintf(format, args...)}
}

// lowerGateway says where an Ingress wants to be reached.
func (l *Lowered) lowerGateway(in *networkingv1.Ingress, say report) *model.Gateway {
	readAnnotations(in, say)
	g := &model.Gateway{Name: nameOf(in), Selector: l.opt.FleetSelector, Seniority: seniority(in), Origin: origin(in, "")}
	if hosts := serverHosts(in, hostsOf(in), "spec.rules", say); len(hosts) > 0 {
		g.Servers = append(g.Servers, model.Server{Name: "http", Port: portHTTP, Protocol: model.ServeHTTP, Hosts: hosts, Origin: origin(in, "spec.rules")})
	} else {
		say.at(in, finding.Warning, "spec.rules", "no-rules", "there is neither a rule that can be used nor a default backend")
	}
	for i, t := range in.Spec.TLS {
		field := fmt.Sprintf("spec.tls[%d]", i)
		if t.SecretName == "" {
			say.at(in, finding.Error, field+".secretName", "no-certificate", "no Secret is named, and there is no default certificate: these hosts are not served over TLS")
			continue
		}
		hosts := serverHosts(in, tlsHosts(in, i), field+".hosts", say)
		if len(hosts) == 0 {
			continue
		}
		g.Servers = append(g.Servers, model.Server{
			Name: fmt.Sprintf("https-%d", i), Port: portHTTPS, Protocol: model.ServeHTTP, Hosts: hosts, Origin: origin(in, "%s", field),
			TLS: &model.ServerTLS{Credentials: []model.ObjectName{{Namespace: in.Namespace, Name: t.SecretName}}},
		})
	}
	return g
}

// serverHosts leaves out what is no host name.
func serverHosts(in *networkingv1.Ingress, hosts []string, field string, say report) (out []model.ServerHost) {
	for _, h := range hosts {
		if why := badHost(h); why != "" {
			say.at(in, finding.Error, field, "invalid-host", fmt.Sprintf("%q: %s; it is left out", h, why))
			continue
		}
		out = append(out, model.ServerHost{Host: h, Namespace: "*"})
	}
	return out
}

func badHost(h string) string {
	if h == anyHost {
		return ""
	}
	var why []string
	if strings.HasPrefix(h, "*.") {
		why = validation.IsWildcardDNS1123Subdomain(h)
	} else {
		why = validation.IsDNS1123Subdomain(h)
	}
	if len(why) == 0 {
		return ""
	}
	return why[0]
}

// hostsOf lists the hosts that an Ingress has rules for, each once, sorted; "*" if it has rules or a backend for any.
func hostsOf(in *networkingv1.Ingress) (out []string) {
	for i := range in.Spec.Rules {
		out = append(out, hostOf(in.Spec.Rules[i].Host))
	}
	if in.Spec.DefaultBackend != nil {
		out = append(out, anyHost)
	}
	for alias := range strings.FieldsFuncSeq(in.Annotations[prefix+"server-alias"], commaOrSpace) {
		out = append(out, strings.ToLower(alias))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func hostOf(host string) string {
	if host == "" {
		return anyHost
	}
	return strings.ToLower(host)
}

// tlsHosts lists the hosts of an entry of tls; without any, those that the Ingress has rules for.
func tlsHosts(in *networkingv1.Ingress, i int) (out []string) {
	for _, h := range in.Spec.TLS[i].Hosts {
		out = append(out, hostOf(h))
	}
	if len(out) == 0 {
		return hostsOf(in)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// encryptedHosts lists the hosts that an Ingress has certificates for.
func encryptedHosts(in *networkingv1.Ingress) (out []string) {
	for i, t := range in.Spec.TLS {
		if t.SecretName != "" {
			out = append(out, tlsHosts(in, i)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// covered tells whether one of the hosts, which may be wildcards, holds for another.
func covered(host string, by []string) bool {
	return slices.ContainsFunc(by, func(b string) bool {
		suffix, wild := strings.CutPrefix(b, "*")
		return b == host || wild && strings.HasSuffix(host, suffix)
	})
}

func commaOrSpace(r rune) bool { return r == ',' || r == ' ' }
