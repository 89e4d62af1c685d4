package route

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// hostIndex finds the virtual host for a host name: exact names first, then the longest wildcard at the front ("*.example.com", "*-a.example.com"),
// then the longest at the end ("example.*"), then "*". Names are in lower case.
type hostIndex struct {
	exact    map[string]*VirtualHost
	suffixes []hostsOfLength // longest first
	prefixes []hostsOfLength
	any      *VirtualHost
}

// hostsOfLength is wildcards without their asterisk that have one length.
type hostsOfLength struct {
	length int
	hosts  map[string]*VirtualHost
}

func (h *hostIndex) build(all []*VirtualHost) error {
	h.exact = map[string]*VirtualHost{}
	for i, v := range all {
		if len(v.Domains) == 0 {
			return field.At("virtual_hosts", i, field.Errorf("domains", "none"))
		}
		for j, domain := range v.Domains {
			if other := h.add(lower(domain), v); other != nil {
				return field.At("virtual_hosts", i, field.At("domains", j, &takenError{domain, other.Name}))
			}
		}
	}
	longest := func(a, b hostsOfLength) int { return b.length - a.length }
	slices.SortFunc(h.suffixes, longest)
	slices.SortFunc(h.prefixes, longest)
	return nil
}

type takenError struct{ domain, by string }

func (e *takenError) Error() string {
	return `"` + e.domain + `" is a domain of virtual host "` + e.by + `" already`
}

// add gives the virtual host that has the domain already, if one has.
func (h *hostIndex) add(domain string, v *VirtualHost) *VirtualHost {
	switch {
	case domain == "*":
		if h.any != nil {
			return h.any
		}
		h.any = v
		return nil
	case strings.HasPrefix(domain, "*"):
		return put(&h.suffixes, domain[1:], v)
	case strings.HasSuffix(domain, "*"):
		return put(&h.prefixes, domain[:len(domain)-1], v)
	}
	if other := h.exact[domain]; other != nil {
		return other
	}
	h.exact[domain] = v
	return nil
}

func put(lengths *[]hostsOfLength, part string, v *VirtualHost) *VirtualHost {
	at := slices.IndexFunc(*lengths, func(l hostsOfLength) bool { return l.length == len(part) })
	if at < 0 {
		at = len(*lengths)
		*lengths = append(*lengths, hostsOfLength{len(part), map[string]*VirtualHost{}})
	}
	if other := (*lengths)[at].hosts[part]; other != nil {
		return other
	}
	(*lengths)[at].hosts[part] = v
	return nil
}

// find finds the virtual host for an authority as it was sent.
func (h *hostIndex) find(authority string, ignorePort bool) *VirtualHost {
	if ignorePort {
		authority, _ = splitPort(authority)
	}
	var room [256]byte
	host := appendLower(room[:0], authority)
	if len(host) == 0 {
		return h.any
	}
	if v := h.exact[string(host)]; v != nil {
		return v
	}
	for i := range h.suffixes { // the asterisk stands for one byte at least
		if s := &h.suffixes[i]; s.length < len(host) {
			if v := s.hosts[string(host[len(host)-s.length:])]; v != nil {
				return v
			}
		}
	}
	for i := range h.prefixes {
		if s := &h.prefixes[i]; s.length < len(host) {
			if v := s.hosts[string(host[:s.length])]; v != nil {
				return v
			}
		}
	}
	return h.any
}

// splitPort parts the port from an authority, with its colon. An IPv6 address without a port keeps its colons, for it has brackets round it.
func splitPort(authority string) (host, port string) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.LastIndexByte(authority, ']') > i {
		return authority, ""
	}
	for _, c := range []byte(authority[i+1:]) {
		if c < '0' || c > '9' {
			return authority, ""
		}
	}
	return authority[:i], authority[i:]
}
