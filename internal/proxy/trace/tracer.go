package trace

import (
	"errors"
	"math/rand/v2"
	"strings"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Tracer is what a connection manager is to trace, compiled. It does not change.
type Tracer struct {
	Exporter *Exporter
	// Spawn: each attempt has a span of its own.
	Spawn bool
	// MaxPath is how much of a path is told, in bytes.
	MaxPath int

	client, random, overall uint64 // of 10,000
	tags                    []tag
}

// tag is an attribute that configuration asks for.
type tag struct {
	name, value string // value where there is none
	header      string // in lower case; "": the value is fixed
}

// defaultPath is as with Envoy.
const defaultPath = 256

// New compiles HttpConnectionManager.tracing. Errors name the field.
func New(m *hcmv3.HttpConnectionManager_Tracing, exporters *Exporters, getenv func(string) string) (*Tracer, error) {
	if err := field.Only(m, "client_sampling", "random_sampling", "overall_sampling", "verbose", "max_path_tag_length", "custom_tags", "provider", "spawn_upstream_span"); err != nil {
		return nil, err
	}
	t := &Tracer{
		Spawn: m.GetSpawnUpstreamSpan().GetValue(), MaxPath: defaultPath, client: share(m.GetClientSampling()), random: share(m.GetRandomSampling()),
		overall: share(m.GetOverallSampling()),
	}
	if n := m.GetMaxPathTagLength(); n != nil {
		t.MaxPath = int(n.GetValue())
	}
	for i, c := range m.GetCustomTags() {
		one, err := newTag(c, getenv)
		if err != nil {
			return nil, field.At("custom_tags", i, err)
		}
		t.tags = append(t.tags, one)
	}
	if m.GetProvider() == nil {
		return nil, nil
	}
	var config tracev3.OpenTelemetryConfig
	if err := m.GetProvider().GetTypedConfig().UnmarshalTo(&config); err != nil {
		return nil, field.Errorf("provider.typed_config", "%s is not known to this proxy", m.GetProvider().GetTypedConfig().GetTypeUrl())
	}
	to, err := newTarget(&config)
	if err != nil {
		return nil, field.In("provider.typed_config", err)
	}
	t.Exporter = exporters.To(to)
	return t, nil
}

// newTarget reads where spans go. Resource detectors and the like say only more of the proxy, and are without effect.
func newTarget(m *tracev3.OpenTelemetryConfig) (Target, error) {
	to := Target{Service: m.GetServiceName()}
	if to.Service == "" {
		to.Service = "unknown_service:weft"
	}
	switch {
	case m.GetSampler() != nil:
		return to, field.Errorf("sampler", "this proxy does not know it")
	case m.GetHttpService() != nil:
		u := m.GetHttpService().GetHttpUri()
		to.Cluster, to.HTTP, to.Timeout = u.GetCluster(), u.GetUri(), u.GetTimeout().AsDuration()
	default:
		g := m.GetGrpcService()
		to.Cluster, to.Authority, to.Timeout = g.GetEnvoyGrpc().GetClusterName(), g.GetEnvoyGrpc().GetAuthority(), g.GetTimeout().AsDuration()
		if to.Authority == "" {
			to.Authority = to.Cluster
		}
	}
	if to.Cluster == "" {
		return to, errors.New("neither grpc_service.envoy_grpc nor http_service names a cluster")
	}
	return to, nil
}

func newTag(m *tracingv3.CustomTag, getenv func(string) string) (tag, error) {
	t := tag{name: m.GetTag()}
	switch c := m.GetType().(type) {
	case *tracingv3.CustomTag_Literal_:
		t.value = c.Literal.GetValue()
	case *tracingv3.CustomTag_Environment_:
		if t.value = c.Environment.GetDefaultValue(); getenv != nil && getenv(c.Environment.GetName()) != "" {
			t.value = getenv(c.Environment.GetName())
		}
	case *tracingv3.CustomTag_RequestHeader:
		t.header, t.value = strings.ToLower(c.RequestHeader.GetName()), c.RequestHeader.GetDefaultValue()
	case *tracingv3.CustomTag_Metadata_:
		t.value = c.Metadata.GetDefaultValue() // none of it is kept
	default:
		return t, errors.New("this proxy does not know its kind")
	}
	return t, nil
}

// share is a percentage of 10,000; nothing said is all.
func share(p *typev3.Percent) uint64 {
	if p == nil {
		return 10_000
	}
	return uint64(min(max(p.GetValue(), 0), 100) * 100)
}

// What the exchange's number is used for.
const (
	drawClient = 1<<33 + iota
	drawRandom
	drawOverall
)

// reasonAt is where in an x-request-id it says whether the request is traced, as Envoy has it: in place of the version of a random UUID.
const reasonAt = 14

// Begin decides whether a request is traced, and says so in the request: where in the trace it is, and in its x-request-id. parent is what it was sent
// in. Only a context that is sampled is to become a span.
func (t *Tracer) Begin(info *message.Info) (c Context, parent [8]byte) {
	f := &info.Request.Fields
	was, decided := Read(f)
	if was.Valid() && decided && !was.Sampled {
		return was, parent // it is passed on as it is
	}
	c = was
	if !decided {
		c.Sampled = t.sample(info)
	}
	parent = was.SpanID
	if !was.Valid() {
		c.TraceID, parent, c.State = newTraceID(), [8]byte{}, ""
	}
	c.SpanID = newSpanID()
	c.Write(f, parent)
	return c, parent
}

// sample decides on a request that nobody has decided on.
func (t *Tracer) sample(info *message.Info) bool {
	f := &info.Request.Fields
	id, _ := f.Get("x-request-id")
	uuid := len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-'
	if uuid && (id[reasonAt] == '9' || id[reasonAt] == 'a' || id[reasonAt] == 'b') {
		return true
	}
	hit := func(share, purpose uint64) bool { return match.Draw(info.Random, purpose)%10_000 < share }
	reason := byte(0)
	if _, ok := f.Get("x-client-trace-id"); ok && hit(t.client, drawClient) {
		reason = 'b'
	} else if _, ok := f.Get("x-envoy-force-trace"); ok {
		reason = 'a'
	} else if hit(t.random, drawRandom) {
		reason = '9'
	}
	if reason == 0 || !hit(t.overall, drawOverall) {
		return false
	}
	if uuid {
		var room [36]byte
		copy(room[:], id)
		room[reasonAt] = reason
		f.Set("x-request-id", f.Copy(room[:]))
	}
	return true
}

// Tags writes the attributes that configuration asks for.
func (t *Tracer) Tags(dst []byte, f *message.Fields) []byte {
	for _, one := range t.tags {
		value := one.value
		if one.header != "" {
			if v, ok := f.Get(one.header); ok {
				value = v
			}
		}
		if value != "" {
			dst = AppendString(dst, one.name, value)
		}
	}
	return dst
}

// Child begins a span in another, and says so in the request.
func Child(of Context, f *message.Fields) Context {
	c := of
	c.SpanID = newSpanID()
	c.Write(f, of.SpanID)
	return c
}

func newTraceID() (id [16]byte) {
	for i, n := range [2]uint64{rand.Uint64() | 1, rand.Uint64()} {
		for j := range 8 {
			id[8*i+j] = byte(n >> (8 * j))
		}
	}
	return id
}

func newSpanID() (id [8]byte) {
	n := rand.Uint64() | 1
	for j := range 8 {
		id[j] = byte(n >> (8 * j))
	}
	return id
}
