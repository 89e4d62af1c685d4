package index

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// view is the Services by everything that they are looked up by. It does not change.
type view struct {
	names     map[string][]*Service // fully qualified, and aliases
	wildcards map[string][]*Service // ".suffix"
	addresses map[netip.Addr][]*Service
	prefixes  map[netip.Prefix][]*Service
	lengths   [2][]int // of prefixes of IPv4 and IPv6, the longest first
	headless  map[uint16][]*Service
	http      map[uint16]bool
	anywhere  map[uint16]Rules // of Services that no address stands for
}

func newView(services map[string]*Service) *view {
	v := &view{
		names: map[string][]*Service{}, wildcards: map[string][]*Service{}, addresses: map[netip.Addr][]*Service{}, prefixes: map[netip.Prefix][]*Service{},
		headless: map[uint16][]*Service{}, http: map[uint16]bool{}, anywhere: map[uint16]Rules{},
	}
	all := make([]*Service, 0, len(services))
	for _, s := range services {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Host, b.Host))
	})
	for _, s := range all {
		v.add(s)
	}
	return v
}

func (v *view) add(s *Service) {
	for _, name := range append([]string{s.Host}, s.aliases...) {
		if suffix, ok := strings.CutPrefix(name, "*"); ok {
			v.wildcards[suffix] = append(v.wildcards[suffix], s)
		} else {
			v.names[name] = append(v.names[name], s)
		}
	}
	for _, ip := range s.addresses {
		v.addresses[ip] = append(v.addresses[ip], s)
	}
	for _, p := range s.prefixes {
		v.prefixes[p] = append(v.prefixes[p], s)
		lengths := &v.lengths[family(p.Addr())]
		if !slices.Contains(*lengths, p.Bits()) {
			*lengths = append(*lengths, p.Bits())
			slices.SortFunc(*lengths, func(a, b int) int { return b - a })
		}
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		if s.Headless {
			v.headless[p.Number] = append(v.headless[p.Number], s)
		}
		v.http[p.Number] = v.http[p.Number] || p.HTTP()
		if s.anywhere {
			v.anywhere[p.Number] = append(v.anywhere[p.Number], p.Rules...)
		}
	}
}

func family(ip netip.Addr) int {
	if ip.Is4() {
		return 0
	}
	return 1
}

func (v *view) destination(at netip.AddrPort) (*Service, *Port) {
	if s, p := withPort(v.addresses[at.Addr()], at.Port()); s != nil {
		return s, p
	}
	for _, bits := range v.lengths[family(at.Addr())] {
		prefix, err := at.Addr().Prefix(bits)
		if err != nil {
			continue
		}
		if s, p := withPort(v.prefixes[prefix], at.Port()); s != nil {
			return s, p
		}
	}
	return nil, nil
}

// withPort chooses the first that has a port, or else the first.
func withPort(all []*Service, port uint16) (*Service, *Port) {
	for _, s := range all {
		if p := s.Port(port); p != nil {
			return s, p
		}
	}
	if len(all) > 0 {
		return all[0], nil
	}
	return nil, nil
}

// host finds a Service by name as a resolver does: a name with few dots is short, and looked for in the client's namespace first.
func (v *view) host(name string, port uint16, in Scope) *Service {
	if ip, err := netip.ParseAddr(name); err == nil {
		for _, s := range v.addresses[ip.Unmap()] {
			if s.led(port) {
				return s
			}
		}
		return nil
	}
	if s := best(v.names[name], port, in); s != nil {
		return s
	}
	rest := ""
	switch dots := strings.Count(name, "."); {
	case dots == 0:
		rest = "." + in.Namespace + ".svc." + in.Domain
	case dots == 1:
		rest = ".svc." + in.Domain
	case dots == 2 && strings.HasSuffix(name, ".svc"):
		rest = "." + in.Domain
	}
	if rest != "" {
		if s := best(v.names[name+rest], port, in); s != nil {
			return s
		}
	}
	for i := 0; i < len(name); i++ {
		if name[i] == '.' {
			if s := best(v.wildcards[name[i:]], port, in); s != nil {
				return s
			}
		}
	}
	return best(v.wildcards[""], port, in)
}

// best is the one to choose among those of one name: that of the client's namespace, or the first.
func best(all []*Service, port uint16, in Scope) (found *Service) {
	for _, s := range all {
		if !s.led(port) {
			continue
		}
		if s.Namespace == in.Namespace {
			return s
		}
		if found == nil {
			found = s
		}
	}
	return found
}
