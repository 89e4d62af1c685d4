package upstream

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// policy is how one of several endpoints is chosen.
type policy uint8

const (
	roundRobin policy = iota
	leastRequest
	random
	ringHash
	maglev
	clusterProvided // ORIGINAL_DST: there is nothing to choose
)

var policyNames = [...]string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV", "CLUSTER_PROVIDED"}

// hashed tells whether the policy goes by a request's hash.
func (p policy) hashed() bool { return p == ringHash || p == maglev }

// balancing is a cluster's lb_policy with its configuration. It does not change; two are equal if they balance alike.
type balancing struct {
	policy           policy
	choices          int     // least request: how many are drawn
	panicPercent     float64 // healthy_panic_threshold
	failOnPanic      bool    // zone_aware_lb_config.fail_traffic_on_panic
	byLocality       bool    // locality_weighted_lb_config
	minRing, maxRing uint64
	tableSize        uint64
	hashHostname     bool
	slow             slowStart
}

// slowStart lets an endpoint's weight grow over a window after it joined.
type slowStart struct {
	window     time.Duration // 0: none
	aggression float64
	minPercent float64
}

const (
	defaultMinRing   = 1024
	defaultMaxRing   = 8 << 20
	defaultTableSize = 65537
	maxTableSize     = 5000011
)

func compileBalancing(r *clusterv3.Cluster) (balancing, error) {
	b := balancing{choices: 2, minRing: defaultMinRing, maxRing: defaultMaxRing, tableSize: defaultTableSize}
	common := r.GetCommonLbConfig()
	threshold := common.GetHealthyPanicThreshold()
	var err error
	if b.panicPercent, err = percentOf("common_lb_config.healthy_panic_threshold", threshold, threshold != nil, 50); err != nil {
		return b, err
	}
	b.byLocality = common.GetLocalityWeightedLbConfig() != nil
	b.failOnPanic = common.GetZoneAwareLbConfig().GetFailTrafficOnPanic()
	b.hashHostname = common.GetConsistentHashingLbConfig().GetUseHostnameForHashing()
	if common.GetConsistentHashingLbConfig().GetHashBalanceFactor() != nil {
		return b, field.Errorf("common_lb_config.consistent_hashing_lb_config.hash_balance_factor", "not supported")
	}
	if p := r.GetLoadBalancingPolicy(); p != nil {
		return b, field.In("load_balancing_policy", b.extension(p))
	}
	switch r.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		return b, field.In("round_robin_lb_config", b.compileSlowStart(r.GetRoundRobinLbConfig().GetSlowStartConfig()))
	case clusterv3.Cluster_LEAST_REQUEST:
		c := r.GetLeastRequestLbConfig()
		b.setLeastRequest(c.GetChoiceCount(), c.GetActiveRequestBias())
		return b, field.In("least_request_lb_config", b.compileSlowStart(c.GetSlowStartConfig()))
	case clusterv3.Cluster_RANDOM:
		b.policy = random
	case clusterv3.Cluster_RING_HASH:
		b.policy = ringHash
		c := r.GetRingHashLbConfig()
		return b, field.In("ring_hash_lb_config", b.setRing(c.GetMinimumRingSize(), c.GetMaximumRingSize()))
	case clusterv3.Cluster_MAGLEV:
		b.policy = maglev
		return b, field.In("maglev_lb_config", b.setTable(r.GetMaglevLbConfig().GetTableSize()))
	case clusterv3.Cluster_CLUSTER_PROVIDED:
		if r.GetType() != clusterv3.Cluster_ORIGINAL_DST {
			return b, field.Errorf("lb_policy", "CLUSTER_PROVIDED is for clusters of type ORIGINAL_DST")
		}
		b.policy = clusterProvided
	default:
		return b, field.Errorf("lb_policy", "%v is not supported", r.GetLbPolicy())
	}
	return b, nil
}

// extension reads the newer form of lb_policy: the first policy of the list that is known.
func (b *balancing) extension(p *clusterv3.LoadBalancingPolicy) error {
	for _, one := range p.GetPolicies() {
		m, err := one.GetTypedExtensionConfig().GetTypedConfig().UnmarshalNew()
		if err != nil {
			continue // a type that is not linked in is not known
		}
		if known, err := b.extensionConfig(m); known || err != nil {
			return field.In("policies."+one.GetTypedExtensionConfig().GetName(), err)
		}
	}
	return field.Errorf("policies", "none of them is supported")
}

func (b *balancing) extensionConfig(m proto.Message) (known bool, err error) {
	switch c := m.(type) {
	case *roundRobinPolicy:
		b.byLocality = b.byLocality || c.GetLocalityLbConfig().GetLocalityWeightedLbConfig() != nil
		return true, b.compileSlowStart(commonSlowStart(c.GetSlowStartConfig()))
	case *leastRequestPolicy:
		b.setLeastRequest(c.GetChoiceCount(), c.GetActiveRequestBias())
		b.byLocality = b.byLocality || c.GetLocalityLbConfig().GetLocalityWeightedLbConfig() != nil
		return true, b.compileSlowStart(commonSlowStart(c.GetSlowStartConfig()))
	case *randomPolicy:
		b.policy = random
		b.byLocality = b.byLocality || c.GetLocalityLbConfig().GetLocalityWeightedLbConfig() != nil
		return true, nil
	case *ringHashPolicy:
		b.policy = ringHash
		b.byLocality = b.byLocality || c.GetLocalityWeightedLbConfig() != nil
		b.hashHostname = b.hashHostname || c.GetConsistentHashingLbConfig().GetUseHostnameForHashing()
		return true, b.setRing(c.GetMinimumRingSize(), c.GetMaximumRingSize())
	case *maglevPolicy:
		b.policy = maglev
		b.byLocality = b.byLocality || c.GetLocalityWeightedLbConfig() != nil
		b.hashHostname = b.hashHostname || c.GetConsistentHashingLbConfig().GetUseHostnameForHashing()
		return true, b.setTable(c.GetTableSize())
	case *wrrLocalityPolicy:
		b.byLocality = true
		return true, b.extension(c.GetEndpointPickingPolicy())
	case *clusterProvidedPolicy:
		b.policy = clusterProvided
		return true, nil
	}
	return false, nil
}
