package upstream

import (
	"crypto/sha256"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// sumOf tells resources apart.
func sumOf(r *endpointv3.ClusterLoadAssignment) ([sha256.Size]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	return sha256.Sum256(b), err
}

// Locality is where endpoints are.
type Locality struct{ Region, Zone, SubZone string }

// assignment is a ClusterLoadAssignment, compiled. It does not change.
type assignment struct {
	sum        [sha256.Size]byte // of the resource, which is not kept: with ten thousand endpoints it is most of what a sidecar would need
	localities []locality
	// overprovisioning is how many percent of its share a priority may carry before the next one helps: 140, as with Envoy.
	overprovisioning uint32
	drops            []drop
}

// locality is the endpoints of one locality and priority.
type locality struct {
	id        Locality
	priority  uint32
	weight    uint32 // 0: none was given, and it gets nothing where localities are weighted
	endpoints []declaration
}

// declaration is what an assignment says of one endpoint.
type declaration struct {
	address address
	connect address   // where connections go instead, if valid: what a logical name stands for
	further []address // of the other IP family; tried after that
	attrs   attributes
}

// drop is one of the categories of drop_overloads: millionths of the requests.
type drop struct {
	category string
	millions uint32
}

func (a *assignment) len() int {
	n := 0
	for i := range a.localities {
		n += len(a.localities[i].endpoints)
	}
	return n
}

// compileAssignment reads an assignment; names says whether an address may be a name that is looked up.
func compileAssignment(r *endpointv3.ClusterLoadAssignment, names bool) (*assignment, error) {
	a := &assignment{overprovisioning: 140}
	if f := r.GetPolicy().GetOverprovisioningFactor(); f != nil {
		a.overprovisioning = f.GetValue()
	}
	for i, d := range r.GetPolicy().GetDropOverloads() {
		m := fraction(d.GetDropPercentage())
		if m > 1e6 {
			return nil, field.Errorf("policy.drop_overloads["+strconv.Itoa(i)+"].drop_percentage", "is more than all")
		}
		a.drops = append(a.drops, drop{category: d.GetCategory(), millions: uint32(m)})
	}
	a.localities = make([]locality, 0, len(r.GetEndpoints()))
	for i, l := range r.GetEndpoints() {
		out, err := compileLocality(l, names)
		if err != nil {
			return nil, field.At("endpoints", i, err)
		}
		a.localities = append(a.localities, out)
	}
	return a, nil
}

func compileLocality(l *endpointv3.LocalityLbEndpoints, names bool) (locality, error) {
	if l.GetLedsClusterLocalityConfig() != nil {
		return locality{}, field.Errorf("leds_cluster_locality_config", "not supported")
	}
	if l.GetPriority() > 128 {
		return locality{}, field.Errorf("priority", "%d is more than 128", l.GetPriority())
	}
	out := locality{
		id:       Locality{l.GetLocality().GetRegion(), l.GetLocality().GetZone(), l.GetLocality().GetSubZone()},
		priority: l.GetPriority(), weight: l.GetLoadBalancingWeight().GetValue(),
	}
	list := l.GetLbEndpoints()
	out.endpoints = make([]declaration, 0, len(list))
	for i, e := range list {
		d, err := compileEndpoint(e, names)
		if err != nil {
			return locality{}, field.At("lb_endpoints", i, err)
		}
		d.attrs.locality, d.attrs.priority = out.id, out.priority
		if i > 0 && proto.Equal(d.attrs.metadata, out.endpoints[i-1].attrs.metadata) { // most are of one workload
			d.attrs.metadata = out.endpoints[i-1].attrs.metadata
		}
		out.endpoints = append(out.endpoints, d)
	}
	return out, nil
}

func compileEndpoint(e *endpointv3.LbEndpoint, names bool) (declaration, error) {
	if e.GetEndpointName() != "" {
		return declaration{}, field.Errorf("endpoint_name", "not supported")
	}
	ep := e.GetEndpoint()
	at, err := compileAddress(ep.GetAddress(), names)
	if err != nil {
		return declaration{}, field.In("endpoint.address", err)
	}
	d := declaration{address: at}
	for i, further := range ep.GetAdditionalAddresses() {
		at, err := compileAddress(further.GetAddress(), false)
		if err != nil {
			return declaration{}, field.In("endpoint", field.At("additional_addresses", i, err))
		}
		d.further = append(d.further, at)
	}
	d.attrs = attributes{weight: 1, metadata: e.GetMetadata(), hostname: ep.GetHostname(), check: ep.GetHealthCheckConfig()}
	if w := e.GetLoadBalancingWeight(); w != nil {
		if d.attrs.weight = w.GetValue(); d.attrs.weight == 0 {
			return declaration{}, field.Errorf("load_balancing_weight", "is zero")
		}
	}
	switch e.GetHealthStatus() {
	case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_TIMEOUT:
		d.attrs.declared = unhealthyState
	case corev3.HealthStatus_DEGRADED:
		d.attrs.declared = degradedState
	}
	return d, nil
}

// fraction is millionths.
func fraction(p *typev3.FractionalPercent) uint64 {
	switch n := uint64(p.GetNumerator()); p.GetDenominator() {
	case typev3.FractionalPercent_HUNDRED:
		return n * 1e4
	case typev3.FractionalPercent_TEN_THOUSAND:
		return n * 100
	default:
		return n
	}
}
