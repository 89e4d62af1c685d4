package upstream

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
)

// checkConfig is a HealthCheck.
type checkConfig struct {
	timeout, interval, initialJitter, jitter   time.Duration
	jitterPercent                              uint32
	unhealthyInterval, unhealthyEdge, goodEdge time.Duration // 0: interval
	unhealthy, healthy                         int64         // thresholds
	port                                       uint16        // 0: the endpoint's
	probe                                      probe
}

// probe is one kind of check. It gives nil if the endpoint is well.
type probe interface {
	check(ctx context.Context, e *Endpoint, c *checkConfig) error
}

func compileChecks(list []*corev3.HealthCheck, h httpConfig) ([]*checkConfig, error) {
	var out []*checkConfig
	for i, r := range list {
		c, err := compileCheck(r, h)
		if err != nil {
			return nil, field.At("health_checks", i, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func compileCheck(r *corev3.HealthCheck, h httpConfig) (*checkConfig, error) {
	c := &checkConfig{
		initialJitter: r.GetInitialJitter().AsDuration(), jitter: r.GetIntervalJitter().AsDuration(), jitterPercent: r.GetIntervalJitterPercent(),
		unhealthyInterval: r.GetUnhealthyInterval().AsDuration(), unhealthyEdge: r.GetUnhealthyEdgeInterval().AsDuration(),
		goodEdge:  r.GetHealthyEdgeInterval().AsDuration(),
		unhealthy: max(1, uint32Or(r.GetUnhealthyThreshold(), 1)), healthy: max(1, uint32Or(r.GetHealthyThreshold(), 1)),
	}
	if p := r.GetAltPort().GetValue(); p > 65535 {
		return nil, field.Errorf("alt_port", "%d is no port", p)
	} else {
		c.port = uint16(p)
	}
	var err error
	if r.GetTimeout() == nil || r.GetInterval() == nil {
		return nil, field.Errorf("timeout", "timeout and interval are needed")
	}
	if c.timeout, err = positive("timeout", r.GetTimeout(), 0); err != nil {
		return nil, err
	}
	if c.interval, err = positive("interval", r.GetInterval(), 0); err != nil {
		return nil, err
	}
	switch k := r.GetHealthChecker().(type) {
	case *corev3.HealthCheck_HttpHealthCheck_:
		c.probe, err = compileHTTPProbe(k.HttpHealthCheck, h)
		return c, field.In("http_health_check", err)
	case *corev3.HealthCheck_GrpcHealthCheck_:
		c.probe, err = compileGRPCProbe(k.GrpcHealthCheck, h)
		return c, field.In("grpc_health_check", err)
	case *corev3.HealthCheck_TcpHealthCheck_:
		c.probe, err = compileTCPProbe(k.TcpHealthCheck)
		return c, field.In("tcp_health_check", err)
	}
	return nil, field.Errorf("health_checker", "is not supported")
}

// payload is the bytes of a HealthCheck.Payload.
func payload(p *corev3.HealthCheck_Payload) ([]byte, error) {
	if p.GetText() != "" {
		b, err := hex.DecodeString(p.GetText())
		if err != nil {
			return nil, field.Errorf("text", "%w", err)
		}
		return b, nil
	}
	return p.GetBinary(), nil
}

// checker checks one endpoint by one check, until it is stopped.
type checker struct {
	endpoint *Endpoint
	config   *checkConfig
	cancel   context.CancelFunc
	first    bool // the first result is not here yet
	failing  bool
	inRow    int64 // results against failing
}

// watch begins and ends the checks of endpoints. Under mu.
func (c *Cluster) watch(cfg *config) {
	c.judge(cfg.outlier)
	same := slices.Equal(c.checks, cfg.checks)
	c.checks = cfg.checks
	if same && len(cfg.checks) == 0 {
		return
	}
	for _, e := range c.endpoints {
		off := e.attrs.Load().check.GetDisableActiveHealthCheck()
		if same && (len(e.checks) > 0 || len(cfg.checks) == 0) && !off {
			continue
		}
		known := len(e.checks) > 0 || c.IsReady() && e.joined < c.round
		failing := e.failed.Load()&failedCheck != 0
		e.stopChecks()
		if len(cfg.checks) == 0 || off {
			e.failed.And(^failedCheck)
			continue
		}
		if !known { // nothing is known of it: it gets nothing until it was checked
			failing = true
			e.failed.Or(failedCheck)
		}
		for _, k := range cfg.checks {
			ctx, cancel := context.WithCancel(c.set.ctx)
			one := &checker{endpoint: e, config: k, cancel: cancel, first: !known, failing: failing}
			e.checks = append(e.checks, one)
			c.set.spawn(func() { one.run(ctx) })
		}
	}
}

// unchecked tells whether an endpoint waits for its first check. Under mu.
func (c *Cluster) unchecked() bool {
	for _, e := range c.endpoints {
		for _, k := range e.checks {
			if k.first {
				return true
			}
		}
	}
	return false
}

// stopChecks ends an endpoint's checks. Under Cluster.mu.
func (e *Endpoint) stopChecks() {
	for _, k := range e.checks {
		k.cancel()
	}
	e.checks = nil
}

func (k *checker) run(ctx context.Context) {
	wait := time.Duration(0)
	if k.config.initialJitter > 0 {
		wait = rand.N(k.config.initialJitter)
	}
	for {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		stats := &k.endpoint.cluster.stats.check
		stats.attempt.Add(1)
		limited, cancel := context.WithTimeout(ctx, k.config.timeout)
		err := k.config.probe.check(limited, k.endpoint, k.config)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			stats.success.Add(1)
		} else {
			stats.failure.Add(1)
		}
		wait = k.result(err)
		if k.config.jitter > 0 {
			wait += rand.N(k.config.jitter)
		}
		if p := wait * time.Duration(k.config.jitterPercent) / 100; p > 0 {
			wait += rand.N(p)
		}
	}
}

// result takes a check's outcome into account and says when the next one is.
func (k *checker) result(err error) time.Duration {
	e, c := k.endpoint, k.endpoint.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	first := k.first
	k.first = false
	if (err != nil) == k.failing {
		k.inRow = 0
	} else if k.inRow++; first || k.failing && k.inRow >= k.config.healthy || !k.failing && k.inRow >= k.config.unhealthy {
		// The first good check is enough, and so is the first bad one.
		k.failing, k.inRow = err != nil, 0
		c.set.options.Log.Info("health check", "cluster", c.name, "endpoint", e.key, "healthy", err == nil, "err", err)
	}
	failing := false
	for _, other := range e.checks {
		failing = failing || other.failing
	}
	c.mark(e, failedCheck, failing)
	if o := c.config.Load().outlier; err == nil && !failing && (o == nil || o.checkEndsEjection) {
		c.uneject(e)
	}
	c.settle()
	or := func(d time.Duration) time.Duration {
		if d > 0 {
			return d
		}
		return k.config.interval
	}
	switch {
	case k.failing && k.inRow > 0:
		return or(k.config.goodEdge)
	case k.failing:
		return or(k.config.unhealthyInterval)
	case k.inRow > 0:
		return or(k.config.unhealthyEdge)
	}
	return k.config.interval
}
