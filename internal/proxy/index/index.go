package index

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/meshpb"
)

// Index is Services and workloads. Use New. It is safe for concurrent use; looking up a Service takes no lock.
type Index struct {
	view atomic.Pointer[view]

	mu        sync.RWMutex
	services  map[string]*Service       // by the resource's name
	stale     bool                      // services differ from view
	workloads map[netip.Addr]*anypb.Any // as it came: that costs least, and it is looked at once for a connection
}

// New makes an empty index.
func New() *Index {
	x := &Index{services: map[string]*Service{}, workloads: map[netip.Addr]*anypb.Any{}}
	x.view.Store(newView(nil))
	return x
}

// SetService puts a Service in place of the one of the resource's name. It is found after Publish.
func (x *Index) SetService(name string, resource *anypb.Any) (*Service, error) {
	m := &meshpb.Service{}
	if err := resource.UnmarshalTo(m); err != nil {
		return nil, err
	}
	s, err := newService(m)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.services[name], x.stale = s, true
	return s, nil
}

// Service gives the Service of a resource's name; nil if there is none.
func (x *Index) Service(name string) *Service {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.services[name]
}

// RemoveService forgets a Service, after Publish. It returns what it was, nil if there was none.
func (x *Index) RemoveService(name string) *Service {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.services[name]
	delete(x.services, name)
	x.stale = true
	return s
}

// Publish has Services found as they are now.
func (x *Index) Publish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stale {
		x.stale = false
		x.view.Store(newView(x.services))
	}
}

// SetWorkload says who runs at an address. The resource is the index's from now on.
func (x *Index) SetWorkload(ip netip.Addr, resource *anypb.Any) error {
	if err := resource.UnmarshalTo(&meshpb.Workload{}); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.workloads[ip] = resource
	return nil
}

// RemoveWorkload says that nobody runs at an address.
func (x *Index) RemoveWorkload(ip netip.Addr) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.workloads, ip)
}

// Workload is who runs at an address; nil is nobody, or that nothing was said of it.
func (x *Index) Workload(ip netip.Addr) *meshpb.Workload {
	x.mu.RLock()
	resource := x.workloads[ip]
	x.mu.RUnlock()
	return decode(resource)
}

func decode(resource *anypb.Any) *meshpb.Workload {
	if resource == nil {
		return nil
	}
	m := &meshpb.Workload{}
	if resource.UnmarshalTo(m) != nil {
		return nil
	}
	return m
}

// Counts are how many Services and workloads there are.
func (x *Index) Counts() (services, workloads int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.services), len(x.workloads)
}

// Scope is where short names are made out.
type Scope struct {
	Namespace string
	Domain    string // of the cluster, "cluster.local"
}

// Destination gives the Service that an address stands for, and its port; without the port, that has none such.
func (x *Index) Destination(at netip.AddrPort) (*Service, *Port) {
	return x.view.Load().destination(at)
}

// Host gives the Service that requests for a host at a port are for, nil if there is none. The host is as in a request: of any case, with a port or
// without, short, an address.
func (x *Index) Host(host string, port uint16, in Scope) *Service {
	return x.view.Load().host(bare(host), port, in)
}

// Headless gives the headless Services that have a port.
func (x *Index) Headless(port uint16) []*Service { return x.view.Load().headless[port] }

// Anywhere gives the rules for connections at a port to addresses that stand for no Service.
func (x *Index) Anywhere(port uint16) Rules { return x.view.Load().anywhere[port] }

// SpeaksHTTP tells whether some Service takes requests of HTTP at a port.
func (x *Index) SpeaksHTTP(port uint16) bool { return x.view.Load().http[port] }

// Version changes with every Publish that changed something.
func (x *Index) Version() any { return x.view.Load() }

// bare is a host in lower case, without port and brackets.
func bare(host string) string {
	if strings.HasPrefix(host, "[") {
		ip, _, _ := strings.Cut(host[1:], "]")
		return strings.ToLower(ip)
	}
	host, _, _ = strings.Cut(host, ":")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}
