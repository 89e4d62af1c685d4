package upstream

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// kind is where a cluster's endpoints come from (Cluster.type).
type kind uint8

const (
	static kind = iota
	strictDNS
	logicalDNS
	eds
	originalDst
)

var kindNames = [...]string{"STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"}

// config is a Cluster resource, compiled. It does not change.
type config struct {
	resource       *clusterv3.Cluster
	name           string
	kind           kind
	edsName        string // the assignment's name
	connectTimeout time.Duration
	lb             balancing
	limits         [priorities]limits
	outlier        *outlierConfig
	checks         []*checkConfig
	transports     *transports
	http           httpConfig
	declared       *assignment // load_assignment of a STATIC cluster
	dns            dnsConfig
	original       originalConfig
}

// compile makes a config of a resource. prev, which may be nil, is what the name stood for: its transports are used again where nothing about
// connections differs, so that pools can be kept.
func (s *Set) compile(r *clusterv3.Cluster, prev *config) (*config, error) {
	c := &config{resource: r, name: r.GetName()}
	if c.name == "" {
		return nil, field.Errorf("name", "is empty")
	}
	if err := unsupported(r); err != nil {
		return nil, err
	}
	if r.GetClusterType() != nil {
		return nil, field.Errorf("cluster_type", "%q is not supported", r.GetClusterType().GetName())
	}
	switch r.GetType() {
	case clusterv3.Cluster_STATIC:
		c.kind = static
	case clusterv3.Cluster_STRICT_DNS:
		c.kind = strictDNS
	case clusterv3.Cluster_LOGICAL_DNS:
		c.kind = logicalDNS
	case clusterv3.Cluster_EDS:
		c.kind, c.edsName = eds, r.GetEdsClusterConfig().GetServiceName()
		if r.GetEdsClusterConfig() == nil {
			return nil, field.Errorf("eds_cluster_config", "is missing")
		}
		if c.edsName == "" {
			c.edsName = c.name
		}
	case clusterv3.Cluster_ORIGINAL_DST:
		c.kind = originalDst
	default:
		return nil, field.Errorf("type", "%v is not supported", r.GetType())
	}
	var err error
	if c.connectTimeout, err = positive("connect_timeout", r.GetConnectTimeout(), 5*time.Second); err != nil {
		return nil, err
	}
	if c.lb, err = compileBalancing(r); err != nil {
		return nil, err
	}
	if c.limits, err = compileBreakers(r.GetCircuitBreakers()); err != nil {
		return nil, err
	}
	if c.outlier, err = compileOutlier(r.GetOutlierDetection()); err != nil {
		return nil, err
	}
	if c.http, err = compileHTTP(r); err != nil {
		return nil, err
	}
	if prev != nil && c.http.protocol == prev.http.protocol && sameMessages(r.GetHealthChecks(), prev.resource.GetHealthChecks()) {
		c.checks = prev.checks // they go on
	} else if c.checks, err = compileChecks(r.GetHealthChecks(), c.http); err != nil {
		return nil, err
	}
	if prev != nil && sameTransports(r, prev.resource) {
		c.transports = prev.transports
	} else if c.transports, err = s.compileTransports(r, c.http); err != nil {
		return nil, err
	}
	return c, c.compileSource(r)
}

// compileSource reads where the endpoints come from.
func (c *config) compileSource(r *clusterv3.Cluster) (err error) {
	la := r.GetLoadAssignment()
	switch c.kind {
	case eds, originalDst:
		if la != nil {
			return field.Errorf("load_assignment", "a cluster of type %s has none", kindNames[c.kind])
		}
		if c.kind == originalDst {
			c.original, err = compileOriginal(r)
			return err
		}
		return nil
	case static:
		c.declared, err = compileAssignment(la, false)
		return field.In("load_assignment", err)
	default:
		if c.declared, err = compileAssignment(la, true); err != nil {
			return field.In("load_assignment", err)
		}
		if n := c.declared.len(); c.kind == logicalDNS && n != 1 {
			return field.Errorf("load_assignment", "a cluster of type LOGICAL_DNS has one endpoint, this has %d", n)
		}
		c.dns, err = compileDNS(r)
		return err
	}
}

// unsupported names a field that would change what the cluster does and that we do not know.
func unsupported(r *clusterv3.Cluster) error {
	for _, f := range []struct {
		set  bool
		name string
	}{
		{r.GetLbSubsetConfig() != nil && len(r.GetLbSubsetConfig().GetSubsetSelectors()) > 0, "lb_subset_config"},
		{r.GetTransportSocketMatcher() != nil, "transport_socket_matcher"},
		{r.GetUpstreamConfig() != nil, "upstream_config"},
		{len(r.GetFilters()) > 0, "filters"},
		{len(r.GetDnsResolvers()) > 0, "dns_resolvers"}, //nolint:staticcheck // deprecated, and what control planes send
		{r.GetConnectionPoolPerDownstreamConnection(), "connection_pool_per_downstream_connection"},
	} {
		if f.set {
			return field.Errorf(f.name, "not supported")
		}
	}
	return nil
}

func uint32Or(v *wrapperspb.UInt32Value, def int64) int64 {
	if v == nil {
		return def
	}
	return int64(v.GetValue())
}

// positive reads a duration that has to be more than zero if it is given.
func positive(name string, d *durationpb.Duration, def time.Duration) (time.Duration, error) {
	if d == nil {
		return def, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, field.Errorf(name, "%w", err)
	}
	if d.AsDuration() <= 0 {
		return 0, field.Errorf(name, "%v is not more than zero", d.AsDuration())
	}
	return d.AsDuration(), nil
}

// sameMessages tells whether two lists hold equal messages.
func sameMessages[M proto.Message](a, b []M) bool {
	return slices.EqualFunc(a, b, func(x, y M) bool { return proto.Equal(x, y) })
}

// unlimited reads a duration of which zero is no limit; def stands for one that is not given.
func unlimited(d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return max(0, d.AsDuration())
}

// percentOf reads a percentage that is not given as def.
func percentOf(name string, v interface{ GetValue() float64 }, given bool, def float64) (float64, error) {
	if !given {
		return def, nil
	}
	if p := v.GetValue(); p >= 0 && p <= 100 {
		return p, nil
	}
	return 0, field.Errorf(name, "%v is no percentage", v.GetValue())
}

// hostPort is an address of a resource as a connection is made to it.
func compileAddress(a *corev3.Address, names bool) (address, error) {
	if p := a.GetPipe(); p != nil {
		if p.GetPath() == "" {
			return address{}, field.Errorf("pipe.path", "is empty")
		}
		return address{network: "unix", text: p.GetPath()}, nil
	}
	sa := a.GetSocketAddress()
	if sa == nil {
		return address{}, field.Errorf("address", "neither a socket_address nor a pipe")
	}
	if sa.GetProtocol() != corev3.SocketAddress_TCP {
		return address{}, field.Errorf("socket_address.protocol", "%v is not supported", sa.GetProtocol())
	}
	port := sa.GetPortValue()
	if port == 0 || port > 65535 || sa.GetNamedPort() != "" {
		return address{}, field.Errorf("socket_address.port_value", "%d is no port", port)
	}
	return compileHost(sa.GetAddress(), uint16(port), names)
}
