package upstream

import (
	"math/big"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusterprovidedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/cluster_provided/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastrequestv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringhashv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundrobinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	wrrlocalityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// The newer policies by short names.
type (
	roundRobinPolicy      = roundrobinv3.RoundRobin
	leastRequestPolicy    = leastrequestv3.LeastRequest
	randomPolicy          = randomv3.Random
	ringHashPolicy        = ringhashv3.RingHash
	maglevPolicy          = maglevv3.Maglev
	wrrLocalityPolicy     = wrrlocalityv3.WrrLocality
	clusterProvidedPolicy = clusterprovidedv3.ClusterProvided
)

// setLeastRequest reads the configuration that both forms of the policy have.
func (b *balancing) setLeastRequest(choices *wrapperspb.UInt32Value, bias *corev3.RuntimeDouble) {
	b.policy = leastRequest
	b.choices = int(min(64, max(2, uint32Or(choices, 2))))
	if bias != nil && bias.GetDefaultValue() == 0 {
		b.policy = roundRobin
	}
}

func (b *balancing) setRing(least, most *wrapperspb.UInt64Value) error {
	if least != nil {
		b.minRing = least.GetValue()
	}
	if most != nil {
		b.maxRing = most.GetValue()
	}
	switch {
	case b.minRing > defaultMaxRing:
		return field.Errorf("minimum_ring_size", "%d is more than %d", b.minRing, defaultMaxRing)
	case b.maxRing > defaultMaxRing:
		return field.Errorf("maximum_ring_size", "%d is more than %d", b.maxRing, defaultMaxRing)
	case b.minRing > b.maxRing:
		return field.Errorf("minimum_ring_size", "%d is more than maximum_ring_size %d", b.minRing, b.maxRing)
	}
	return nil
}

func (b *balancing) setTable(size *wrapperspb.UInt64Value) error {
	if size == nil {
		return nil
	}
	b.tableSize = size.GetValue()
	if b.tableSize < 2 || b.tableSize > maxTableSize || !new(big.Int).SetUint64(b.tableSize).ProbablyPrime(0) {
		return field.Errorf("table_size", "%d is no prime number up to %d", b.tableSize, maxTableSize)
	}
	return nil
}

// commonSlowStart is the newer message as the older one, which has the same fields.
func commonSlowStart(c *commonv3.SlowStartConfig) *clusterv3.Cluster_SlowStartConfig {
	if c == nil {
		return nil
	}
	return &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow: c.GetSlowStartWindow(), Aggression: c.GetAggression(), MinWeightPercent: c.GetMinWeightPercent(),
	}
}

func (b *balancing) compileSlowStart(c *clusterv3.Cluster_SlowStartConfig) (err error) {
	if c == nil || c.GetSlowStartWindow().AsDuration() == 0 {
		return nil
	}
	if b.slow.window, err = positive("slow_start_config.slow_start_window", c.GetSlowStartWindow(), time.Minute); err != nil {
		return err
	}
	b.slow.aggression = 1
	if c.GetAggression() != nil {
		if b.slow.aggression = c.GetAggression().GetDefaultValue(); b.slow.aggression <= 0 {
			return field.Errorf("slow_start_config.aggression", "%v is not more than zero", b.slow.aggression)
		}
	}
	b.slow.minPercent, err = percentOf("slow_start_config.min_weight_percent", c.GetMinWeightPercent(), c.GetMinWeightPercent() != nil, 10)
	return err
}
