// Package convert says in Istio's words what Ingresses mean: a Gateway for each Ingress, and a VirtualService for each host with the routes of all
// Ingresses that have it, in the order in which they are tried. What comes out means what went in, but for what it reports.
//
// It reads the composed model and never an Ingress, so that it cannot understand one in another way than the gateways do.
package convert

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/compose"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// Object is a Kubernetes object as its JSON has it.
type Object map[string]any

const apiVersion = "networking.istio.io/v1"

// converter makes objects of what one fleet carries.
type converter struct {
	gateways []*model.Gateway
	findings []finding.Finding
}

// Ingresses gives the Gateways and VirtualServices that mean what the Ingresses of a fleet mean, and what cannot be said in their words.
func Ingresses(e *compose.Edge, f model.Fleet) ([]Object, []finding.Finding) {
	c := &converter{}
	for _, g := range e.Gateways.Read(f) {
		if g.Name.Kind == "Ingress" {
			c.gateways = append(c.gateways, g)
		}
	}
	var out []Object
	for _, g := range c.gateways {
		out = append(out, c.gateway(g, f))
	}
	hosts := map[string]*model.VirtualHost{}
	for _, name := range compose.TableNames(e.Listeners.Read(f)) {
		t := e.Tables.Read(compose.TableKey{Fleet: f, Name: name})
		if t == nil {
			continue
		}
		for _, h := range t.Hosts {
			if hosts[h.Domains[0]] == nil { // that of plaintext comes first, and says what there is to say
				hosts[h.Domains[0]] = h
			}
		}
	}
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		if o := c.virtualService(hosts[host]); o != nil {
			out = append(out, o)
		}
	}
	return out, c.findings
}

func (c *converter) warn(at model.Origin, format string, args ...any) {
	c.findings = append(c.findings, finding.Finding{Object: at.Object, Field: at.Field, Severity: finding.Warning, Code: "not-converted", Message: fmt.Sprintf(format, args...)})
}

func metadata(name model.ObjectName) map[string]any {
	return map[string]any{"namespace": name.Namespace, "name": name.Name}
}

func (c *converter) gateway(g *model.Gateway, f model.Fleet) Object {
	var servers []any
	for i := range g.Servers {
		s := &g.Servers[i]
		var hosts []any
		for _, h := range s.Hosts {
			hosts = append(hosts, h.Host)
		}
		port := map[string]any{"number": int(s.Port), "name": s.Name, "protocol": "HTTP"}
		server := map[string]any{"port": port, "hosts": hosts}
		if s.TLS != nil {
			port["protocol"] = "HTTPS"
			secret := s.TLS.Credentials[0]
			server["tls"] = map[string]any{"mode": "SIMPLE", "credentialName": secret.Name}
			if secret.Namespace != f.Namespace {
				c.warn(s.Origin, "a Gateway takes its Secrets from the namespace of the gateway's Pods: copy %v to %s", secret, f.Namespace)
			}
		}
		servers = append(servers, server)
	}
	selector := map[string]any{}
	for pair := range strings.SplitSeq(string(g.Selector), ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			selector[k] = v
		}
	}
	return Object{"apiVersion": apiVersion, "kind": "Gateway", "metadata": metadata(g.Name.Name), "spec": map[string]any{"selector": selector, "servers": servers}}
}

// virtualService gives the routes of a host, bound to every gateway that has the host.
func (c *converter) virtualService(h *model.VirtualHost) Object {
	if len(h.Routes) == 0 {
		return nil
	}
	host := h.Domains[0]
	var gateways []any
	for _, g := range c.gateways {
		if slices.ContainsFunc(g.Servers, func(s model.Server) bool {
			return slices.ContainsFunc(s.Hosts, func(sh model.ServerHost) bool { return sh.Host == host })
		}) {
			gateways = append(gateways, g.Name.Name.String())
		}
	}
	var http []any
	for i := range h.Routes {
		http = append(http, c.routes(&h.Routes[i])...)
	}
	name := model.ObjectName{Namespace: h.Origin.Namespace, Name: h.Origin.Name + "-" + label(host)}
	return Object{"apiVersion": apiVersion, "kind": "VirtualService", "metadata": metadata(name),
		"spec": map[string]any{"hosts": []any{host}, "gateways": gateways, "http": http}}
}

// label makes of a host what can be part of a name.
func label(host string) string {
	if host == "*" {
		return "any"
	}
	return strings.ReplaceAll(host, "*", "wildcard")
}
