package trace

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/message"
	"github.com/weftmesh/weft/internal/proxy/stats"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	span    = "00f067aa0ba902b7"
)

func asking(fields string) *message.Info {
	x := &message.Info{Request: &message.Request{}}
	for f := range strings.FieldsSeq(fields) {
		name, value, _ := strings.Cut(f, "=")
		x.Request.Fields.Add(name, value)
	}
	return x
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		fields, trace, span string
		sampled, decided    bool
	}{
		{"", "", "", false, false},
		{"traceparent=00-" + traceID + "-" + span + "-01", traceID, span, true, true},
		{"traceparent=00-" + traceID + "-" + span + "-00", traceID, span, false, true},
		{"traceparent=00-" + traceID + "-" + span + "-03", traceID, span, true, true},
		{"traceparent=cc-" + traceID + "-" + span + "-01-more", traceID, span, true, true},
		{"traceparent=00-" + traceID + "-" + span + "-01-more", "", "", false, false},
		{"traceparent=ff-" + traceID + "-" + span + "-01", "", "", false, false},
		{"traceparent=00-" + strings.ToUpper(traceID) + "-" + span + "-01", "", "", false, false},
		{"traceparent=00-00000000000000000000000000000000-" + span + "-01", "", "", false, false},
		{"traceparent=00-" + traceID + "-0000000000000000-01", "", "", false, false},
		{"traceparent=00-" + traceID + "-" + span + "-01 traceparent=00-" + traceID + "-" + span + "-01", "", "", false, false},
		{"b3=" + traceID + "-" + span + "-1", traceID, span, true, true},
		{"b3=" + traceID + "-" + span + "-1-" + span, traceID, span, true, true},
		{"b3=" + traceID + "-" + span + "-d", traceID, span, true, true},
		{"b3=" + traceID + "-" + span + "-0", traceID, span, false, true},
		{"b3=" + traceID + "-" + span, traceID, span, false, false},
		{"b3=" + span + "-" + span + "-1", "0000000000000000" + span, span, true, true},
		{"b3=0", "", "", false, true},
		{"b3=x", "", "", false, false},
		{"x-b3-traceid=" + traceID + " x-b3-spanid=" + span + " x-b3-sampled=1", traceID, span, true, true},
		{"x-b3-traceid=" + span + " x-b3-spanid=" + span + " x-b3-flags=1", "0000000000000000" + span, span, true, true},
		{"x-b3-sampled=0", "", "", false, true},
		{"x-b3-traceid=" + traceID, "", "", false, false},
		{"traceparent=00-" + traceID + "-" + span + "-01 b3=0", traceID, span, true, true},
		{"traceparent=bad b3=" + traceID + "-" + span + "-1", traceID, span, true, true},
	} {
		got, decided := Read(&asking(c.fields).Request.Fields)
		want := Context{Sampled: c.sampled}
		if c.trace != "" {
			_, _ = hex.Decode(want.TraceID[:], []byte(c.trace))
			_, _ = hex.Decode(want.SpanID[:], []byte(c.span))
		}
		if got != want || decided != c.decided {
			t.Errorf("%s: %+v, decided %t", c.fields, got, decided)
		}
	}
}

func tracer(t *testing.T, text string, send Send) (*Tracer, *Exporters) {
	t.Helper()
	m := &hcmv3.HttpConnectionManager_Tracing{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	e := NewExporters(stats.New(stats.Workload{}), send)
	t.Cleanup(e.Close)
	one, err := New(m, e, nil)
	if err != nil {
		t.Fatal(err)
	}
	return one, e
}

const provider = `"provider":{"name":"otel","typed_config":{"@type":"type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig","service_name":"s","grpc_service":{"envoy_grpc":{"cluster_name":"c"}}}}`

func none(context.Context, Target, []byte) error { return nil }

// What was decided upstream holds; what nobody has decided is decided once, and everybody further down is told.
func TestBegin(t *testing.T) {
	const id = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
	traced := func(reason string) string { return "x-request-id=" + id[:14] + reason + id[15:] }
	for _, c := range []struct {
		percent, fields string
		sampled         bool
		id              string // of the request afterwards
	}{
		{"100", "x-request-id=" + id, true, traced("9")},
		{"0", "x-request-id=" + id, false, "x-request-id=" + id},
		{"0", traced("9"), true, traced("9")},
		{"0", "x-envoy-force-trace=1 x-request-id=" + id, true, traced("a")},
		{"0", "x-client-trace-id=1 x-request-id=" + id, true, traced("b")},
		{"0", "traceparent=00-" + traceID + "-" + span + "-01", true, ""},
		{"100", "traceparent=00-" + traceID + "-" + span + "-00", false, ""},
		{"100", "b3=0", false, ""},
		{"100", "x-request-id=short", true, "x-request-id=short"},
	} {
		one, _ := tracer(t, `{"random_sampling":{"value":`+c.percent+`},`+provider+`}`, none)
		x := asking(c.fields)
		got, parent := one.Begin(x)
		if got.Sampled != c.sampled || !got.Valid() {
			t.Errorf("%s%%, %s: %+v", c.percent, c.fields, got)
		}
		after, decided := Read(&x.Request.Fields)
		if after != got || !decided {
			t.Errorf("%s%%, %s: it goes on with %+v, and the span is %+v", c.percent, c.fields, after, got)
		}
		if name, want, ok := strings.Cut(c.id, "="); ok {
			if v, _ := x.Request.Fields.Get(name); v != want {
				t.Errorf("%s%%, %s: %s is %s", c.percent, c.fields, name, v)
			}
		}
		if in := strings.Contains(c.fields, traceID) && c.sampled; in != (parent != [8]byte{}) || in && hex.EncodeToString(got.TraceID[:]) != traceID {
			t.Errorf("%s%%, %s: parent %x in trace %x", c.percent, c.fields, parent, got.TraceID)
		}
	}
}

// Each of B3's forms goes on beside W3C's.
func TestWrite(t *testing.T) {
	one, _ := tracer(t, `{`+provider+`}`, none)
	for _, fields := range []string{"b3=" + traceID + "-" + span + "-1", "x-b3-traceid=" + traceID + " x-b3-spanid=" + span + " x-b3-sampled=1"} {
		x := asking(fields)
		got, parent := one.Begin(x)
		if hex.EncodeToString(parent[:]) != span {
			t.Errorf("%s: parent %x", fields, parent)
		}
		for _, form := range []string{"traceparent", "b3"} {
			x.Request.Fields.Del(form)
			if after, ok := Read(&x.Request.Fields); ok && after != got {
				t.Errorf("%s, without %s: %+v, want %+v", fields, form, after, got)
			}
		}
	}
}

func TestNotSampledMakesNoGarbage(t *testing.T) {
	one, _ := tracer(t, `{"random_sampling":{"value":0},`+provider+`}`, none)
	x := asking("x-request-id=6ba7b810-9dad-41d1-80b4-00c04fd430c8 accept=*/*")
	one.Begin(x)
	if n := testing.AllocsPerRun(100, func() { x.Request.Fields.Del("traceparent"); one.Begin(x) }); n > 0.1 { // the arena of a request that never ends grows
		t.Errorf("%v allocations", n)
	}
}

// Spans that come together are sent together; a collector that is away or slow costs spans, and nobody waits.
func TestExport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]byte
		var down error
		e := NewExporters(stats.New(stats.Workload{}), func(_ context.Context, to Target, body []byte) error {
			if to.Service != "s" {
				t.Errorf("%+v", to)
			}
			sent = append(sent, body)
			time.Sleep(time.Second)
			return down
		})
		one := e.To(Target{Cluster: "c", Service: "s"})
		if one != e.To(Target{Cluster: "c", Service: "s"}) {
			t.Error("two exporters for one target")
		}
		for range 3 {
			one.Export(0, &Span{Name: "x", Attributes: AppendString(nil, "k", "v")})
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(sent) != 1 || e.sent.Value() != 3 || strings.Count(string(sent[0]), "\x0a\x01k") != 3 {
			t.Errorf("%d requests, %d spans: %q", len(sent), e.sent.Value(), sent)
		}
		down = errors.New("away")
		for range 3 * maxQueue {
			one.Export(0, &Span{})
		}
		if n := e.dropped.Value(); n < maxQueue {
			t.Errorf("%d were dropped", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := e.failed.Value() + e.dropped.Value(); n != 3*maxQueue {
			t.Errorf("%d of %d are accounted for", n, 3*maxQueue)
		}
		one.Export(0, &Span{})
		e.Close()
		e.Close()
		if n := e.failed.Value() + e.dropped.Value(); n != 3*maxQueue+1 {
			t.Error("what waits at the end is not sent")
		}
	})
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"provider":{"name":"x"}}`: "provider.typed_config: ",
		`{"provider":{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig"}}}`: "provider.typed_config: neither",
		`{"custom_tags":[{"tag":"x"}]}`: "custom_tags[0]: ",
	} {
		m := &hcmv3.HttpConnectionManager_Tracing{}
		if err := protojson.Unmarshal([]byte(text), m); err != nil {
			t.Fatal(err)
		}
		if _, err := New(m, NewExporters(stats.New(stats.Workload{}), none), nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("00-"+traceID+"-"+span+"-01", traceID+"-"+span+"-1", traceID, span)
	f.Fuzz(func(t *testing.T, parent, single, id, spanID string) {
		var fields message.Fields
		for name, v := range map[string]string{traceParent: parent, b3: single, b3TraceID: id, b3SpanID: spanID} {
			if v != "" {
				fields.Add(name, v)
			}
		}
		c, _ := Read(&fields)
		if !c.Valid() {
			return
		}
		c.Write(&fields, [8]byte{})
		if again, _ := Read(&fields); again.TraceID != c.TraceID || again.SpanID != c.SpanID || again.Sampled != c.Sampled {
			t.Errorf("%+v is written and read as %+v", c, again)
		}
	})
}
