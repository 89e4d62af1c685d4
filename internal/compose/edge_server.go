package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// Kinds of objects whose servers and routes are treated apart.
const kindIngress = "Ingress"

// portServers is the servers of one port of a fleet that agree with each other, the oldest first.
type portServers struct {
	port    uint16
	servers []boundServer
}

// boundServer is a server that a fleet serves, with the hosts that are its own.
type boundServer struct {
	gateway model.GatewayName
	name    string // unique among the TLS servers of its port
	server  model.Server
	hosts   []model.ServerHost // without those that an older server on the port has
}

// speech is what the connections of a port begin with.
type speech uint8

const (
	plainHTTP speech = iota
	plainTCP
	encrypted
)

func (s speech) String() string {
	return [...]string{plainHTTP: "plaintext HTTP", plainTCP: "plaintext TCP", encrypted: "TLS"}[s]
}

func speechOf(s *model.Server) speech {
	switch {
	case s.TLS != nil || s.Protocol == model.ServePassthrough:
		return encrypted
	case s.Protocol == model.ServeTCP:
		return plainTCP
	}
	return plainHTTP
}

// table is the name of the route table of an HTTP server, as Istio's; "" for others.
func (b *boundServer) table() string {
	switch {
	case b.server.Protocol != model.ServeHTTP:
		return ""
	case b.server.TLS == nil:
		return fmt.Sprintf("http.%d", b.server.Port)
	}
	return "https." + b.chain()
}

// chain names a server among all: port, name, gateway, namespace. What an Ingress implies is set apart by a character that no name has.
func (b *boundServer) chain() string {
	name := b.gateway.Name.Name
	if b.gateway.Kind != "Gateway" {
		name += "~" + strings.ToLower(b.gateway.Kind)
	}
	return fmt.Sprintf("%d.%s.%s.%s", b.server.Port, b.name, name, b.gateway.Name.Namespace)
}

// portsOf settles which servers a fleet serves: on each port the oldest says what is spoken, and a host over TLS belongs to one server. Plaintext
// HTTP servers share their port and their hosts.
func (e *Edge) portsOf(r *derive.Reader, f model.Fleet) (out []*portServers) {
	byPort := map[uint16]*portServers{}
	taken := map[string]*boundServer{} // "port host" of TLS
	names := map[string]int{}
	for _, g := range e.Gateways.Get(r, f) {
		for i := range g.Servers {
			s := &g.Servers[i]
			p := byPort[s.Port]
			if p == nil {
				p = &portServers{port: s.Port}
				byPort[s.Port] = p
				out = append(out, p)
			}
			b := boundServer{gateway: g.Name, name: s.Name, server: *s, hosts: s.Hosts}
			if len(p.servers) > 0 && !agree(r, &p.servers[0], &b) {
				continue
			}
			if speechOf(s) == encrypted {
				b.hosts = settleHosts(r, taken, &b)
				if len(b.hosts) == 0 {
					continue
				}
				if n := names[b.chain()]; n > 0 {
					b.name = fmt.Sprintf("%s-%d", s.Name, n)
				}
				names[b.chain()]++
			}
			p.servers = append(p.servers, b)
		}
	}
	out = slices.DeleteFunc(out, func(p *portServers) bool { return len(p.servers) == 0 })
	slices.SortFunc(out, func(a, b *portServers) int { return int(a.port) - int(b.port) })
	return out
}

// agree tells whether a server can share its port with the first one there.
func agree(r *derive.Reader, first, b *boundServer) bool {
	was, is := speechOf(&first.server), speechOf(&b.server)
	if was == is && was != plainTCP {
		return true
	}
	report(r, b.server.Origin, finding.Error, "port-conflict", fmt.Sprintf("port %d speaks %v for %v; this server is left out", b.server.Port, was, first.server.Origin))
	return false
}

// settleHosts takes from a TLS server the hosts that an older one has.
func settleHosts(r *derive.Reader, taken map[string]*boundServer, b *boundServer) (kept []model.ServerHost) {
	var lost []string
	var holder *boundServer
	mine := map[string]bool{}
	for _, h := range b.server.Hosts {
		key := fmt.Sprintf("%d %s", b.server.Port, h.Host)
		other := taken[key]
		if other == nil || mine[key] { // one host may be granted to several namespaces
			taken[key], mine[key] = b, true
			kept = append(kept, h)
			continue
		}
		lost, holder = append(lost, h.Host), other
	}
	if len(lost) == 0 {
		return kept
	}
	hosts := strings.Join(lost, ", ")
	if b.gateway.Kind == kindIngress && holder.gateway.Kind == kindIngress {
		// Their routes are shared; only the certificate can be another than asked for.
		if !equal(b.server.TLS, holder.server.TLS) {
			report(r, b.server.Origin, finding.Warning, "certificate-taken", fmt.Sprintf("%s: the certificate is that of %v", hosts, holder.server.Origin))
		}
		return kept
	}
	report(r, b.server.Origin, finding.Error, "host-taken", fmt.Sprintf("port %d of %s belongs to %v; it is left out here", b.server.Port, hosts, holder.server.Origin))
	return kept
}

// report attaches a finding about an element to the result being computed.
func report(r *derive.Reader, at model.Origin, severity finding.Severity, code, message string) {
	r.Report(finding.Finding{Object: at.Object, Field: at.Field, Severity: severity, Code: code, Message: message})
}
