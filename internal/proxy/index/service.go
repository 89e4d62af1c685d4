package index

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

// Service is a host that clients may use. It does not change; another takes its place.
type Service struct {
	Host, Namespace string
	Ports           []Port
	// Headless says that its endpoints are dialled by the address that the client chose.
	Headless bool
	// Identities are the SPIFFE IDs of its servers, with spaces between.
	Identities string

	anywhere  bool // no address stands for it
	addresses []netip.Addr
	prefixes  []netip.Prefix
	aliases   []string
}

// Port is a port of a Service.
type Port struct {
	Number   uint16
	Protocol meshpb.Protocol
	MeshTLS  bool // all endpoints take the mesh's mutual TLS
	// Rules say where connections lead that are carried as bytes; none: to the Service's own cluster.
	Rules Rules
}

func newService(m *meshpb.Service) (*Service, error) {
	s := &Service{
		Host: strings.ToLower(m.GetHost()), Namespace: m.GetNamespace(), Headless: m.GetHeadless(), Identities: strings.Join(m.GetSubjectAltNames(), " "),
		aliases: m.GetAliases(), anywhere: m.GetAnywhere(),
	}
	if s.Host == "" {
		return nil, field.Errorf("host", "is empty")
	}
	for i, b := range m.GetAddresses() {
		ip, ok := netip.AddrFromSlice(b)
		if !ok {
			return nil, field.At("addresses", i, field.Errorf("length", "%d bytes are no IP address", len(b)))
		}
		s.addresses = append(s.addresses, ip.Unmap())
	}
	for i, p := range m.GetPrefixes() {
		prefix, err := newPrefix(p)
		if err != nil {
			return nil, field.At("prefixes", i, err)
		}
		s.prefixes = append(s.prefixes, prefix)
	}
	for i, p := range m.GetPorts() {
		if p.GetNumber() == 0 || p.GetNumber() > 65535 {
			return nil, field.At("ports", i, field.Errorf("number", "%d is no port", p.GetNumber()))
		}
		port := Port{Number: uint16(p.GetNumber()), Protocol: p.GetProtocol(), MeshTLS: p.GetMeshTls()}
		for j, rule := range p.GetRules() {
			r, err := newRule(rule)
			if err != nil {
				return nil, field.At("ports", i, field.At("rules", j, err))
			}
			port.Rules = append(port.Rules, r)
		}
		s.Ports = append(s.Ports, port)
	}
	return s, nil
}

func newPrefix(m *meshpb.Prefix) (netip.Prefix, error) {
	ip, ok := netip.AddrFromSlice(m.GetAddress())
	if !ok {
		return netip.Prefix{}, field.Errorf("address", "%d bytes are no IP address", len(m.GetAddress()))
	}
	prefix, err := ip.Unmap().Prefix(int(m.GetLength()))
	return prefix, field.In("length", err)
}

// Port gives a port by its number; nil if the Service has none such.
func (s *Service) Port(number uint16) *Port {
	for i := range s.Ports {
		if s.Ports[i].Number == number {
			return &s.Ports[i]
		}
	}
	return nil
}

// Led are the clusters that the rules of its ports lead to, less its own.
func (s *Service) Led() (out []string) {
	for i := range s.Ports {
		for _, name := range s.Ports[i].Rules.Clusters() {
			if name != s.Cluster(s.Ports[i].Number) {
				out = append(out, name)
			}
		}
	}
	return out
}

// Address gives an address of the Service, of the family of another if there is one; not valid if nothing stands for it but its name.
func (s *Service) Address(like netip.Addr) (first netip.Addr) {
	for _, a := range s.addresses {
		if a.Is4() == like.Is4() {
			return a
		}
		if !first.IsValid() {
			first = a
		}
	}
	return first
}

// Routes is the name of the RouteConfiguration of the Service at a port.
func (s *Service) Routes(port uint16) string { return strconv.Itoa(int(port)) + "|" + s.Host }

// Cluster is the name of the cluster of the Service at a port.
func (s *Service) Cluster(port uint16) string {
	return "outbound|" + strconv.Itoa(int(port)) + "||" + s.Host
}

// led tells whether requests of HTTP are led to the Service at a port: a Service without ports is only a name, at any.
func (s *Service) led(port uint16) bool {
	if len(s.Ports) == 0 {
		return true
	}
	p := s.Port(port)
	return p != nil && p.HTTP()
}

// HTTP tells whether requests of HTTP may come to the port.
func (p *Port) HTTP() bool {
	return p.Protocol == meshpb.Protocol_HTTP || p.Protocol == meshpb.Protocol_HTTP2 || p.Protocol == meshpb.Protocol_AUTO
}

// Bytes tells whether something else than HTTP may.
func (p *Port) Bytes() bool {
	return p.Protocol == meshpb.Protocol_TCP || p.Protocol == meshpb.Protocol_TLS || p.Protocol == meshpb.Protocol_AUTO
}
