package upstream

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/proxy/field"
	http1 "github.com/weftmesh/weft/internal/proxy/http1/transport"
	http2 "github.com/weftmesh/weft/internal/proxy/http2/transport"
)

// protocol is which version of HTTP a cluster's endpoints are spoken to in.
type protocol uint8

const (
	speakHTTP1 protocol = iota
	speakHTTP2
	speakNegotiated // what ALPN gives (auto_config)
	speakDownstream // what the client speaks (use_downstream_protocol_config)
)

// httpConfig is a cluster's HttpProtocolOptions.
type httpConfig struct {
	protocol  protocol
	autoSNI   bool
	verifySNI bool
	sniHeader string

	idle        time.Duration // 0: no limit
	maxAge      time.Duration // 0: no limit
	maxRequests int64         // on a connection; 0: no limit
	http1       http1.Options
	http2       http2.Options
}

// httpOptions is the name under which a cluster carries HttpProtocolOptions.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

func compileHTTP(r *clusterv3.Cluster) (httpConfig, error) {
	c := httpConfig{idle: time.Hour, maxRequests: uint32Or(r.GetMaxRequestsPerConnection(), 0)} //nolint:staticcheck // deprecated, and what control planes send
	h2 := r.GetHttp2ProtocolOptions()                                                           //nolint:staticcheck // deprecated, and what control planes send
	if h2 != nil {
		c.protocol = speakHTTP2
	}
	if r.GetProtocolSelection() == clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL { //nolint:staticcheck // deprecated, and what control planes send
		c.protocol = speakDownstream
	}
	common, upstream := r.GetCommonHttpProtocolOptions(), r.GetUpstreamHttpProtocolOptions() //nolint:staticcheck // deprecated, and what control planes send
	for name, typed := range r.GetTypedExtensionProtocolOptions() {
		if name != httpOptions {
			continue // tcp and others: nothing in them that we know
		}
		var o httpv3.HttpProtocolOptions
		if err := typed.UnmarshalTo(&o); err != nil {
			return c, field.Errorf("typed_extension_protocol_options."+name, "%w", err)
		}
		if len(o.GetHttpFilters()) > 0 {
			for _, f := range o.GetHttpFilters() {
				if f.GetName() != "envoy.filters.http.upstream_codec" {
					return c, field.Errorf("typed_extension_protocol_options.http_filters", "%q is not supported", f.GetName())
				}
			}
		}
		common, upstream = o.GetCommonHttpProtocolOptions(), o.GetUpstreamHttpProtocolOptions()
		switch p := o.GetUpstreamProtocolOptions().(type) {
		case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
			switch {
			case p.ExplicitHttpConfig.GetHttp3ProtocolOptions() != nil:
				return c, field.Errorf("typed_extension_protocol_options.explicit_http_config.http3_protocol_options", "not supported")
			case p.ExplicitHttpConfig.GetHttp2ProtocolOptions() != nil:
				c.protocol, h2 = speakHTTP2, p.ExplicitHttpConfig.GetHttp2ProtocolOptions()
			default:
				c.protocol = speakHTTP1
			}
		case *httpv3.HttpProtocolOptions_AutoConfig:
			c.protocol, h2 = speakNegotiated, p.AutoConfig.GetHttp2ProtocolOptions()
		case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
			c.protocol, h2 = speakDownstream, p.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions()
		}
	}
	c.autoSNI, c.verifySNI, c.sniHeader = upstream.GetAutoSni(), upstream.GetAutoSanValidation(), upstream.GetOverrideAutoSniHeader()
	c.setCommon(common)
	c.setHTTP2(h2)
	return c, nil
}

func (c *httpConfig) setCommon(o *corev3.HttpProtocolOptions) {
	c.idle = unlimited(o.GetIdleTimeout(), c.idle)
	c.maxAge = unlimited(o.GetMaxConnectionDuration(), 0)
	c.maxRequests = uint32Or(o.GetMaxRequestsPerConnection(), c.maxRequests)
	if n := o.GetMaxHeadersCount(); n != nil {
		c.http1.MaxFields = int(n.GetValue())
	}
	if kb := o.GetMaxResponseHeadersKb(); kb != nil {
		bytes := min(8<<20, int(kb.GetValue())<<10)
		c.http1.MaxHeadBytes, c.http2.MaxHeaderListBytes = bytes, uint32(bytes)
	}
}

func (c *httpConfig) setHTTP2(o *corev3.Http2ProtocolOptions) {
	c.http2.IdleTimeout = c.idle
	c.http2.MaxConcurrentStreams = o.GetMaxConcurrentStreams().GetValue()
	c.http2.StreamWindowBytes = o.GetInitialStreamWindowSize().GetValue()
	c.http2.ConnectionWindowBytes = o.GetInitialConnectionWindowSize().GetValue()
	if k := o.GetConnectionKeepalive(); k != nil {
		c.http2.PingInterval, c.http2.PingTimeout = k.GetInterval().AsDuration(), k.GetTimeout().AsDuration()
	}
}

// seconds reads what the kernel wants to be told in whole seconds; nothing said leaves it to the kernel.
func seconds(v *wrapperspb.UInt32Value) time.Duration {
	if v == nil {
		return -1
	}
	return time.Duration(v.GetValue()) * time.Second
}
