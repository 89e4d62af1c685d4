package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// lowerGateway gives nil for a Gateway of which nothing can be served.
func lowerGateway(g *networkingv1.Gateway, say func(finding.Finding)) *model.Gateway {
	if g == nil {
		return nil
	}
	s := specOf(origin(kindGateway, g), say)
	name := model.GatewayName{Kind: kindGateway, Name: model.ObjectName{Namespace: g.Namespace, Name: g.Name}}
	out := &model.Gateway{Name: name, Seniority: seniorityOf(kindGateway, g), Origin: model.Origin{Object: s.where.Object}}
	var ok bool
	if out.Selector, ok = s.labels("selector", g.Spec.Selector); !ok {
		return nil
	}
	if len(g.Spec.Servers) == 0 {
		s.in("servers").errorf(codeMissing, "a Gateway without servers has no effect")
	}
	names := map[string]bool{}
	for i, in := range g.Spec.Servers {
		if srv, ok := lowerServer(in, g.Namespace, s.at("servers", i)); ok {
			srv.Name = uniqueName(srv.Name, names, s.at("servers", i).in("port.name"))
			out.Servers = append(out.Servers, srv)
		}
	}
	if len(out.Servers) == 0 {
		return nil
	}
	return out
}

// uniqueName gives a server a name that no other has, because routes are told apart by it.
func uniqueName(name string, taken map[string]bool, s spot) string {
	unique := name
	for n := 2; unique == "" || taken[unique]; n++ {
		unique = strings.TrimPrefix(fmt.Sprintf("%s-%d", name, n), "-")
	}
	switch {
	case name == "":
		s.warnf(codeMissing, "a port needs a name; it is called %q", unique)
	case unique != name:
		s.warnf(codeDoubled, "another port of the Gateway is called %q too; this one is called %q", name, unique)
	}
	taken[unique] = true
	return unique
}

func lowerServer(in *networking.Server, own string, s spot) (out model.Server, ok bool) {
	p := in.GetPort()
	if p == nil {
		s.in("port").errorf(codeMissing, "a server needs a port")
		return out, false
	}
	out = model.Server{Name: p.Name, Hosts: serverHosts(in.Hosts, own, s), Origin: s.where}
	if out.Port = s.in("port.number").port(p.Number); out.Port == 0 || len(out.Hosts) == 0 {
		return out, false
	}
	if p.TargetPort != 0 { //nolint:staticcheck // deprecated, and to be told of
		s.in("port.targetPort").warnf(codeNoEffect, "has no effect on a Gateway")
	}
	if in.Bind != "" && in.Bind != "0.0.0.0" && in.Bind != "::" {
		s.in("bind").errorf(codeUnsupported, "listening on %q alone is not supported; the server is left out, and not opened to all", in.Bind)
		return out, false
	}
	s.in("defaultEndpoint").unsupported(in.DefaultEndpoint != "")
	return out, serverProtocol(in, &out, s)
}

// serverHosts reads hosts of the forms HOST and NAMESPACE/HOST.
func serverHosts(list []string, own string, s spot) (out []model.ServerHost) {
	if len(list) == 0 {
		s.in("hosts").errorf(codeMissing, "a server needs at least one host")
	}
	for i, h := range list {
		at := s.at("hosts", i)
		namespace, host, both := strings.Cut(h, "/")
		if !both {
			namespace, host = "*", h
		}
		if namespace == "." {
			namespace = own
		}
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		wrong := wrongHost(host)
		switch {
		case namespace != "*" && len(validation.IsDNS1123Label(namespace)) > 0:
			at.errorf(codeHost, "%q is neither a namespace nor \".\" nor \"*\"; the host is left out", namespace)
			continue
		case wrong != "" && !isAddress(host):
			at.errorf(codeHost, "%q %s; it is left out", host, wrong)
			continue
		case host != "*" && !strings.ContainsAny(host, ".:"):
			at.errorf(codeHost, "%q is a short name, which means nothing outside the cluster; it is left out", host)
			continue
		}
		sh := model.ServerHost{Host: host, Namespace: namespace}
		if slices.Contains(out, sh) {
			at.warnf(codeDoubled, "%q is named before", h)
			continue
		}
		out = append(out, sh)
	}
	return out
}

// protocols is what a Gateway's port may speak, by Istio's names in lower case.
var protocols = map[string]struct{ http, tls bool }{
	"http": {http: true}, "http2": {http: true}, "grpc": {http: true}, "grpc-web": {http: true},
	"https": {http: true, tls: true}, "tls": {tls: true},
	"tcp": {}, "mongo": {}, "redis": {}, "mysql": {},
}

// serverProtocol says what the server speaks. It is false for one that must not be opened: rather nothing than something in plaintext that was
// meant to be encrypted.
func serverProtocol(in *networking.Server, out *model.Server, s spot) bool {
	p, known := protocols[strings.ToLower(in.Port.Protocol)]
	tls := in.Tls
	switch {
	case !known:
		s.in("port.protocol").errorf(codeProtocol, "%q is not one of HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, REDIS, MYSQL; the server is left out", in.Port.Protocol)
		return false
	case p.tls && tls == nil:
		s.in("tls").errorf(codeMissing, "protocol %s needs it; the server is left out", in.Port.Protocol)
		return false
	case p.tls:
		return serverTLS(tls, p.http, out, s.in("tls"))
	case tls != nil && !p.http:
		s.in("tls").errorf(codeConflict, "protocol %s has none: use TLS; the server is left out", in.Port.Protocol)
		return false
	case tls != nil && !tls.HttpsRedirect && asksForTLS(tls):
		s.in("tls").errorf(codeConflict, "protocol %s is plaintext: use HTTPS; the server is left out", in.Port.Protocol)
		return false
	case tls != nil && asksForTLS(tls):
		s.in("tls").warnf(codeNoEffect, "only httpsRedirect has an effect with protocol %s", in.Port.Protocol)
	}
	if !p.http {
		out.Protocol = model.ServeTCP
	}
	out.RedirectHTTPS = tls.GetHttpsRedirect()
	return true
}

func asksForTLS(t *networking.ServerTLSSettings) bool {
	return t.Mode != networking.ServerTLSSettings_PASSTHROUGH || t.CredentialName != "" || len(t.CredentialNames) > 0 || hasFiles(t)
}
