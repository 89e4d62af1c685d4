package hcm

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/internal/proxy/accesslog"
	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/filter/chain"
	"github.com/weftmesh/weft/internal/proxy/format"
	http1 "github.com/weftmesh/weft/internal/proxy/http1/transport"
	http2 "github.com/weftmesh/weft/internal/proxy/http2/transport"
	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/peer"
	"github.com/weftmesh/weft/internal/proxy/route"
	"github.com/weftmesh/weft/internal/proxy/trace"
	"github.com/weftmesh/weft/internal/proxy/upstream"
)

// Env is what the managers of a proxy share. Nothing in it changes.
type Env struct {
	Clusters *upstream.Set
	// Routes gives the source of a route table by its name in RDS.
	Routes func(name string) *Routes
	// OpenLog opens the file of an access log.
	OpenLog func(path string) (*accesslog.Writer, error)
	Format  format.Options
	Filters *filter.Env
	Metrics *Metrics
	Mirrors *Mirrors
	Log     *slog.Logger
	// Self is what the proxy says of itself to others of its mesh.
	Self peer.Self
	// Exporters takes spans, each with SpanTags, which say whose the proxy is.
	Exporters *trace.Exporters
	SpanTags  []byte
	// Inbound: requests come to the proxy's own workload.
	Inbound bool
}

// Manager is a compiled HttpConnectionManager. It is not changed once made, but for the table behind its routes.
type Manager struct {
	env    *Env
	routes *Routes
	inline bool
	// inbound: requests come to our own workload. exchange: proxies tell each other whose they are.
	inbound, exchange bool
	introduce         []message.Field
	tracer            *trace.Tracer // nil: nothing is traced
	chain             *chain.Chain
	log               *accesslog.Log
	pool              pool

	codec      hcmv3.HttpConnectionManager_CodecType
	paths      route.PathPolicy
	edge       edge
	serverName string
	server     hcmv3.HttpConnectionManager_ServerHeaderTransformation
	via        string
	upgrades   map[string]bool
	scheme     string // to use in place of the transport's, "" to leave it

	idle           time.Duration // of a stream
	requestTimeout time.Duration
	maxAge         time.Duration
	http1          http1.Options
	http2          http2.Options
}

// Taken without effect, since they tune or count: stat_prefix, add_user_agent, access_log_options, access_log_flush_interval,
// flush_access_log_on_new_request, drain_timeout (the listener's drain counts), http_protocol_options, proxy_100_continue, stream_error_on_invalid_http_message,
// internal_address_config (nobody is internal), request_id_extension, strip_trailing_host_dot, append_local_overload, proxy_status_config.

// unknown are fields that would change what happens to a request and that we do not know how to obey.
func unknown(m *hcmv3.HttpConnectionManager) error {
	for _, f := range []struct {
		set  bool
		name string
	}{
		{m.GetScopedRoutes() != nil, "scoped_routes"},
		{len(m.GetOriginalIpDetectionExtensions()) > 0, "original_ip_detection_extensions"},
		{len(m.GetEarlyHeaderMutationExtensions()) > 0, "early_header_mutation_extensions"},
		{m.GetTypedHeaderValidationConfig() != nil, "typed_header_validation_config"},
		{m.GetLocalReplyConfig() != nil && len(m.GetLocalReplyConfig().GetMappers()) > 0, "local_reply_config.mappers"},
		{m.GetCodecType() == hcmv3.HttpConnectionManager_HTTP3, "codec_type"},
	} {
		if f.set {
			return field.Errorf(f.name, "this proxy does not know it")
		}
	}
	return nil
}

// New compiles a HttpConnectionManager. Errors name the field.
func New(m *hcmv3.HttpConnectionManager, env *Env) (*Manager, error) {
	if m.GetRouteSpecifier() == nil {
		return nil, field.Errorf("route_specifier", "neither rds nor route_config")
	}
	return NewDirected(m, env)
}

// NewDirected is New for a manager that may say nothing of routes: its connections come with a [Director].
func NewDirected(m *hcmv3.HttpConnectionManager, env *Env) (*Manager, error) {
	if err := unknown(m); err != nil {
		return nil, err
	}
	g := &Manager{
		env: env, inbound: env.Inbound, codec: m.GetCodecType(), paths: route.NewPathPolicy(m), server: m.GetServerHeaderTransformation(), via: m.GetVia(),
		serverName: orString(m.GetServerName(), "envoy"), upgrades: map[string]bool{}, scheme: m.GetSchemeHeaderTransformation().GetSchemeToOverwrite(),
		edge: newEdge(m),
	}
	var err error
	switch s := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_Rds:
		if s.Rds.GetRouteConfigName() == "" {
			return nil, field.Errorf("rds.route_config_name", "is empty")
		}
		g.routes = env.Routes(s.Rds.GetRouteConfigName())
	case *hcmv3.HttpConnectionManager_RouteConfig:
		table, err := route.Compile(s.RouteConfig, route.Options{Format: env.Format, Filters: env.Filters})
		if err != nil {
			return nil, field.In("route_config", err)
		}
		g.routes, g.inline = NewRoutes(), true
		g.routes.Set(table)
	case nil:
		g.routes = NewRoutes()
	default:
		return nil, field.Errorf("route_specifier", "neither rds nor route_config")
	}
	if g.chain, err = chain.New(m.GetHttpFilters(), env.Filters); err != nil {
		return nil, err
	}
	g.exchange = g.chain.PeerMetadata()
	if t := m.GetTracing(); t != nil && env.Exporters != nil {
		if g.tracer, err = trace.New(t, env.Exporters, env.Format.Getenv); err != nil {
			return nil, field.In("tracing", err)
		}
	}
	if g.exchange && !g.inbound && env.Self.Value != "" {
		g.introduce = []message.Field{{Name: peer.IDField, Value: env.Self.ID}, {Name: peer.Field, Value: env.Self.Value}}
	}
	if g.log, err = accesslog.Compile(m.GetAccessLog(), env.OpenLog, env.Format); err != nil {
		return nil, err
	}
	for i, u := range m.GetUpgradeConfigs() {
		if len(u.GetFilters()) > 0 {
			return nil, field.At("upgrade_configs", i, fmt.Errorf("filters: a chain of its own is not known"))
		}
		g.upgrades[strings.ToLower(u.GetUpgradeType())] = u.GetEnabled() == nil || u.GetEnabled().GetValue()
	}
	return g, g.limits(m)
}

// Routes gives the source of the manager's route table.
func (g *Manager) Routes() *Routes { return g.routes }

func (g *Manager) limits(m *hcmv3.HttpConnectionManager) error {
	var err error
	get := func(name string, d *durationpb.Duration, def time.Duration) time.Duration {
		if d == nil {
			return def
		}
		if e := d.CheckValid(); e != nil && err == nil {
			err = field.In(name, e)
		}
		return max(0, d.AsDuration())
	}
	none := func(d time.Duration) time.Duration { // the transports' word for no limit is a negative one
		if d == 0 {
			return -1
		}
		return d
	}
	g.idle = get("stream_idle_timeout", m.GetStreamIdleTimeout(), 5*time.Minute)
	g.requestTimeout = get("request_timeout", m.GetRequestTimeout(), 0)
	common := m.GetCommonHttpProtocolOptions()
	g.maxAge = get("common_http_protocol_options.max_connection_duration", common.GetMaxConnectionDuration(), 0)
	idle := none(get("common_http_protocol_options.idle_timeout", common.GetIdleTimeout(), time.Hour))
	headBytes := 60 << 10
	if kb := m.GetMaxRequestHeadersKb(); kb != nil {
		headBytes = int(kb.GetValue()) << 10
	}
	fields := 100
	if n := common.GetMaxHeadersCount().GetValue(); n > 0 {
		fields = int(n)
	}
	g.edge.maxFields = fields
	g.edge.underscores = common.GetHeadersWithUnderscoresAction()
	g.http1 = http1.Options{
		MaxHeadBytes: headBytes, MaxFields: fields, IdleTimeout: idle, MaxRequests: int(common.GetMaxRequestsPerConnection().GetValue()),
		HeadTimeout:   none(get("request_headers_timeout", m.GetRequestHeadersTimeout(), 10*time.Second)),
		StallTimeout:  g.idle, // who takes nothing is not waited for longer, whatever else limits the stream; without such a limit it is the default
		LingerTimeout: none(get("delayed_close_timeout", m.GetDelayedCloseTimeout(), time.Second)),
	}
	h2 := m.GetHttp2ProtocolOptions()
	g.http2 = http2.Options{
		MaxHeaderListBytes: uint32(headBytes), IdleTimeout: idle, MaxAge: g.maxAge,
		MaxConcurrentStreams:  orUint32(h2.GetMaxConcurrentStreams().GetValue(), 1024),
		StreamWindowBytes:     h2.GetInitialStreamWindowSize().GetValue(),
		ConnectionWindowBytes: h2.GetInitialConnectionWindowSize().GetValue(),
		NoExtendedConnect:     !h2.GetAllowConnect(),
		SettingsTimeout:       10 * time.Second,
		StallTimeout:          g.idle,
	}
	if k := h2.GetConnectionKeepalive(); k != nil {
		g.http2.PingInterval, g.http2.PingTimeout = k.GetInterval().AsDuration(), k.GetTimeout().AsDuration()
	}
	return err
}

func orString(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func orUint32(n, def uint32) uint32 {
	if n == 0 {
		return def
	}
	return n
}

// underscoresAction is what becomes of fields whose name has an underscore.
type underscoresAction = corev3.HttpProtocolOptions_HeadersWithUnderscoresAction
