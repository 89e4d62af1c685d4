package upstream

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// outlierConfig is an OutlierDetection. Percentages are 0 to 100.
type outlierConfig struct {
	interval, base, most, jitter time.Duration
	maxPercent                   int64
	alwaysOne                    bool
	split                        bool
	checkEndsEjection            bool

	consecutive5xx, consecutiveGateway, consecutiveLocal consecutiveConfig

	successRate struct {
		hosts, volume, factor     int64 // factor in thousandths of the standard deviation
		enforcing, enforcingLocal int64
	}
	failure struct {
		threshold, hosts, volume  int64
		enforcing, enforcingLocal int64
	}
}

// consecutiveConfig is how many in a row are too many, and how often that is acted on.
type consecutiveConfig struct{ limit, enforcing int64 }

// compileOutlier reads the message; the numbers for what is not given are those of its documentation.
func compileOutlier(r *clusterv3.OutlierDetection) (*outlierConfig, error) {
	if r == nil {
		return nil, nil
	}
	c := &outlierConfig{split: r.GetSplitExternalLocalOriginErrors(), alwaysOne: r.GetAlwaysEjectOneHost().GetValue(), checkEndsEjection: true}
	if v := r.GetSuccessfulActiveHealthCheckUnejectHost(); v != nil {
		c.checkEndsEjection = v.GetValue()
	}
	var err error
	percent := func(name string, v *wrapperspb.UInt32Value, def int64) int64 {
		n := uint32Or(v, def)
		if n > 100 && err == nil {
			err = field.Errorf("outlier_detection."+name, "%d is no percentage", n)
		}
		return n
	}
	if c.interval, err = positive("outlier_detection.interval", r.GetInterval(), 10*time.Second); err != nil {
		return nil, err
	}
	if c.base, err = positive("outlier_detection.base_ejection_time", r.GetBaseEjectionTime(), 30*time.Second); err != nil {
		return nil, err
	}
	if c.most, err = positive("outlier_detection.max_ejection_time", r.GetMaxEjectionTime(), max(c.base, 300*time.Second)); err != nil {
		return nil, err
	}
	c.jitter = max(0, r.GetMaxEjectionTimeJitter().AsDuration())
	c.maxPercent = percent("max_ejection_percent", r.GetMaxEjectionPercent(), 10)
	c.consecutive5xx = consecutiveConfig{uint32Or(r.GetConsecutive_5Xx(), 5), percent("enforcing_consecutive_5xx", r.GetEnforcingConsecutive_5Xx(), 100)}
	c.consecutiveGateway = consecutiveConfig{uint32Or(r.GetConsecutiveGatewayFailure(), 5),
		percent("enforcing_consecutive_gateway_failure", r.GetEnforcingConsecutiveGatewayFailure(), 0)}
	c.consecutiveLocal = consecutiveConfig{uint32Or(r.GetConsecutiveLocalOriginFailure(), 5),
		percent("enforcing_consecutive_local_origin_failure", r.GetEnforcingConsecutiveLocalOriginFailure(), 100)}
	s := &c.successRate
	s.hosts, s.volume = uint32Or(r.GetSuccessRateMinimumHosts(), 5), uint32Or(r.GetSuccessRateRequestVolume(), 100)
	s.factor = uint32Or(r.GetSuccessRateStdevFactor(), 1900)
	s.enforcing = percent("enforcing_success_rate", r.GetEnforcingSuccessRate(), 100)
	s.enforcingLocal = percent("enforcing_local_origin_success_rate", r.GetEnforcingLocalOriginSuccessRate(), 100)
	f := &c.failure
	f.hosts, f.volume = uint32Or(r.GetFailurePercentageMinimumHosts(), 5), uint32Or(r.GetFailurePercentageRequestVolume(), 50)
	f.threshold = percent("failure_percentage_threshold", r.GetFailurePercentageThreshold(), 85)
	f.enforcing = percent("enforcing_failure_percentage", r.GetEnforcingFailurePercentage(), 0)
	f.enforcingLocal = percent("enforcing_failure_percentage_local_origin", r.GetEnforcingFailurePercentageLocalOrigin(), 0)
	if err != nil {
		return nil, err
	}
	return c, nil
}
