package route

import (
	"errors"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// defaultTimeout is what Envoy gives a route that says nothing.
const defaultTimeout = 15 * time.Second

func (c *compiler) forward(m *routev3.RouteAction, s scope, cond *condition) (*Forward, error) {
	if err := field.Only(m, "cluster", "cluster_header", "weighted_clusters", "cluster_not_found_response_code", "prefix_rewrite", "regex_rewrite",
		"host_rewrite_literal", "host_rewrite_header", "host_rewrite_path_regex", "auto_host_rewrite", "append_x_forwarded_host", "timeout", "idle_timeout",
		"max_stream_duration", "max_grpc_timeout", "grpc_timeout_offset", "retry_policy", "request_mirror_policies", "priority", "hash_policy",
		"upgrade_configs", "hedge_policy", "flush_timeout", "early_data_policy"); err != nil {
		return nil, err
	}
	f := &Forward{
		AutoHost: m.GetAutoHostRewrite().GetValue(), AppendForwardedHost: m.GetAppendXForwardedHost(), HighPriority: m.GetPriority() != 0,
		Retry: s.retry, Mirrors: s.mirrors,
	}
	var err error
	if f.NotFoundStatus, err = notFoundStatus(m.GetClusterNotFoundResponseCode()); err != nil {
		return nil, err
	}
	if err := f.times(m); err != nil {
		return nil, err
	}
	if err := f.destinations(c, m, s); err != nil {
		return nil, err
	}
	if f.rewrite, err = newRewrite(m, cond); err != nil {
		return nil, err
	}
	if m.GetRetryPolicy() != nil {
		if f.Retry, err = newRetry(m.GetRetryPolicy()); err != nil {
			return nil, field.In("retry_policy", err)
		}
	}
	if len(m.GetRequestMirrorPolicies()) > 0 {
		if f.Mirrors, err = mirrors(m.GetRequestMirrorPolicies()); err != nil {
			return nil, err
		}
	}
	if f.hashes, err = newHashes(m.GetHashPolicy()); err != nil {
		return nil, err
	}
	return f, f.allowUpgrades(m.GetUpgradeConfigs())
}

func notFoundStatus(c routev3.RouteAction_ClusterNotFoundResponseCode) (int, error) {
	switch c {
	case routev3.RouteAction_SERVICE_UNAVAILABLE:
		return 503, nil
	case routev3.RouteAction_NOT_FOUND:
		return 404, nil
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		return 500, nil
	}
	return 0, field.Errorf("cluster_not_found_response_code", "unknown code %d", c)
}

func (f *Forward) times(m *routev3.RouteAction) error {
	var l limits
	f.Timeout = defaultTimeout
	if m.GetTimeout() != nil {
		f.Timeout = l.read("timeout", m.GetTimeout())
	}
	f.IdleTimeout, f.HasIdleTimeout = l.read("idle_timeout", m.GetIdleTimeout()), m.GetIdleTimeout() != nil
	if d := m.GetMaxGrpcTimeout(); d != nil {
		f.GRPCTimeout, f.GRPCTimeoutMax = true, l.read("max_grpc_timeout", d)
		f.GRPCTimeoutOffset = l.read("grpc_timeout_offset", m.GetGrpcTimeoutOffset())
	}
	if d := m.GetMaxStreamDuration(); d != nil {
		f.MaxStreamDuration = l.read("max_stream_duration.max_stream_duration", d.GetMaxStreamDuration())
		if h := d.GetGrpcTimeoutHeaderMax(); h != nil {
			f.GRPCTimeout, f.GRPCTimeoutMax = true, l.read("max_stream_duration.grpc_timeout_header_max", h)
			f.GRPCTimeoutOffset = l.read("max_stream_duration.grpc_timeout_header_offset", d.GetGrpcTimeoutHeaderOffset())
		}
	}
	return l.err
}

func (f *Forward) destinations(c *compiler, m *routev3.RouteAction, s scope) error {
	single := func(d Destination) {
		d.Weight, d.Filters, d.request, d.response = 1, s.filters, s.request, s.response
		f.Destinations, f.total = []*Destination{&d}, 1
	}
	switch a := m.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		if a.Cluster == "" {
			return field.Errorf("cluster", "empty")
		}
		single(Destination{Cluster: a.Cluster})
	case *routev3.RouteAction_ClusterHeader:
		if a.ClusterHeader == "" {
			return field.Errorf("cluster_header", "empty")
		}
		single(Destination{clusterHeader: strings.ToLower(a.ClusterHeader)})
	case *routev3.RouteAction_WeightedClusters:
		return field.In("weighted_clusters", f.weighted(c, a.WeightedClusters, s))
	default:
		return errors.New("it names no cluster")
	}
	return nil
}

func (f *Forward) weighted(c *compiler, m *routev3.WeightedCluster, s scope) error {
	if err := field.Only(m, "clusters", "total_weight", "runtime_key_prefix", "header_name", "use_hash_policy"); err != nil {
		return err
	}
	f.weighBy, f.byHash = strings.ToLower(m.GetHeaderName()), m.GetUseHashPolicy().GetValue()
	for i, w := range m.GetClusters() {
		d, err := c.destination(w, s)
		if err != nil {
			return field.At("clusters", i, err)
		}
		f.Destinations = append(f.Destinations, d)
		f.total += uint64(d.Weight)
	}
	if f.total == 0 {
		return field.Errorf("clusters", "the sum of their weights is 0")
	}
	if f.total > math.MaxUint32 {
		return field.Errorf("clusters", "the sum of their weights is %d, more than fits 32 bits", f.total)
	}
	return nil
}

func (c *compiler) destination(w *routev3.WeightedCluster_ClusterWeight, s scope) (*Destination, error) {
	if err := field.Only(w, "name", "cluster_header", "weight", "request_headers_to_add", "request_headers_to_remove", "response_headers_to_add",
		"response_headers_to_remove", "typed_per_filter_config", "host_rewrite_literal"); err != nil {
		return nil, err
	}
	if (w.GetName() == "") == (w.GetClusterHeader() == "") {
		return nil, field.Errorf("name", "one of name and cluster_header is needed")
	}
	s, err := c.scope(s, w)
	return &Destination{
		Cluster: w.GetName(), clusterHeader: strings.ToLower(w.GetClusterHeader()), Weight: w.GetWeight().GetValue(), Filters: s.filters,
		host: w.GetHostRewriteLiteral(), request: s.request, response: s.response,
	}, err
}

func (f *Forward) allowUpgrades(ms []*routev3.RouteAction_UpgradeConfig) error {
	for i, m := range ms {
		if err := field.Only(m, "upgrade_type", "enabled"); err != nil {
			return field.At("upgrade_configs", i, err)
		}
		name := lower(m.GetUpgradeType())
		if _, twice := f.upgrades[name]; twice {
			return field.At("upgrade_configs", i, field.Errorf("upgrade_type", "%q is there twice", name))
		}
		if f.upgrades == nil {
			f.upgrades = map[string]bool{}
		}
		f.upgrades[name] = m.GetEnabled() == nil || m.GetEnabled().GetValue()
	}
	return nil
}

func mirrors(ms []*routev3.RouteAction_RequestMirrorPolicy) ([]Mirror, error) {
	var out []Mirror
	for i, m := range ms {
		mirror, err := newMirror(m)
		if err != nil {
			return nil, field.At("request_mirror_policies", i, err)
		}
		out = append(out, mirror)
	}
	return out, nil
}

func newMirror(m *routev3.RouteAction_RequestMirrorPolicy) (Mirror, error) {
	mirror := Mirror{
		Cluster: m.GetCluster(), clusterHeader: strings.ToLower(m.GetClusterHeader()),
		ShadowHost: !m.GetDisableShadowHostSuffixAppend() && m.GetHostRewriteLiteral() == "", Host: m.GetHostRewriteLiteral(),
	}
	err := field.Only(m, "cluster", "cluster_header", "runtime_fraction", "trace_sampled", "disable_shadow_host_suffix_append", "host_rewrite_literal")
	if err != nil {
		return mirror, err
	}
	if (mirror.Cluster == "") == (mirror.clusterHeader == "") {
		return mirror, field.Errorf("cluster", "one of cluster and cluster_header is needed")
	}
	mirror.fraction, err = match.NewRuntimeFraction(m.GetRuntimeFraction())
	return mirror, field.In("runtime_fraction.default_value", err)
}

// ClusterOf gives the cluster that a copy goes to, "" for none, and whether this exchange is to be copied by the i-th mirror of a route.
func (m *Mirror) ClusterOf(i int, x *message.Info) (cluster string, ok bool) {
	if !m.fraction.Hit(match.Draw(x.Random, drawMirror+uint64(i))) {
		return "", false
	}
	if m.clusterHeader == "" {
		return m.Cluster, true
	}
	cluster, ok = x.Request.Fields.Get(m.clusterHeader)
	return cluster, ok && cluster != ""
}

// Pick chooses the destination for an exchange. Picking again gives the same.
func (f *Forward) Pick(x *message.Info) *Destination {
	if len(f.Destinations) == 1 {
		return f.Destinations[0]
	}
	at, _ := bits.Mul64(match.Draw(x.Random, drawWeight), f.total) // in proportion, from the number's high bits
	if f.byHash {
		if hash, ok, _ := f.Hash(x); ok {
			at = hash % f.total
		}
	} else if f.weighBy != "" {
		v, _ := x.Request.Fields.Get(f.weighBy)
		if n, err := strconv.ParseUint(v, 10, 64); err == nil {
			at = n % f.total
		}
	}
	for _, d := range f.Destinations {
		if at < uint64(d.Weight) {
			return d
		}
		at -= uint64(d.Weight)
	}
	return f.Destinations[len(f.Destinations)-1] // not reached: at is less than the sum
}

// ClusterOf gives the name of the cluster for a request; "" when a header is to tell and does not.
func (d *Destination) ClusterOf(r *message.Request) string {
	if d.clusterHeader == "" {
		return d.Cluster
	}
	v, _ := r.Fields.Get(d.clusterHeader)
	return v
}

// Upgrade tells whether the route allows a protocol to be switched to ("websocket", "CONNECT"), if it says anything about that; else the listener does.
func (f *Forward) Upgrade(protocol string) (allowed, said bool) {
	for name, on := range f.upgrades {
		if match.EqualFold(name, protocol) {
			return on, true
		}
	}
	return false, false
}
