package accesslog

import (
	"io"
	"net/netip"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/format"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// BenchmarkJSON is a line as weft's gateways write it.
func BenchmarkJSON(b *testing.B) {
	c := &accesslogv3.AccessLog{}
	if err := protojson.Unmarshal([]byte(`{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"x",
	"log_format":{"json_format":{"start_time":"%START_TIME%","method":"%REQ(:METHOD)%","path":"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%","protocol":"%PROTOCOL%",
	"response_code":"%RESPONSE_CODE%","response_flags":"%RESPONSE_FLAGS%","response_code_details":"%RESPONSE_CODE_DETAILS%",
	"bytes_received":"%BYTES_RECEIVED%","bytes_sent":"%BYTES_SENT%","duration":"%DURATION%","upstream_service_time":"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
	"x_forwarded_for":"%REQ(X-FORWARDED-FOR)%","user_agent":"%REQ(USER-AGENT)%","request_id":"%REQ(X-REQUEST-ID)%","authority":"%REQ(:AUTHORITY)%",
	"upstream_host":"%UPSTREAM_HOST%","upstream_cluster":"%UPSTREAM_CLUSTER%","route_name":"%ROUTE_NAME%","origin":"%METADATA(ROUTE:weft:origin)%",
	"downstream_remote_address":"%DOWNSTREAM_REMOTE_ADDRESS%","downstream_local_address":"%DOWNSTREAM_LOCAL_ADDRESS%","requested_server_name":"%REQUESTED_SERVER_NAME%"}}}}`), c); err != nil {
		b.Fatal(err)
	}
	w := NewWriter(io.Discard)
	l, err := Compile([]*accesslogv3.AccessLog{c}, func(string) (*Writer, error) { return w, nil }, format.Options{})
	if err != nil {
		b.Fatal(err)
	}
	x := &message.Info{
		Request:  &message.Request{Method: "GET", Path: "/100", Authority: "bench.test", Scheme: "http", Version: message.HTTP11},
		Response: &message.Response{Status: 200}, Start: time.Now(), Details: "via_upstream", Origin: "VirtualService default/edge spec.http[0]",
		Client: netip.MustParseAddrPort("127.0.0.1:50000"), Local: netip.MustParseAddrPort("127.0.0.1:18710"), Upstream: netip.MustParseAddrPort("127.0.0.1:18700"),
		RouteName: "default/edge/0", UpstreamCluster: "outbound|80||backend.default.svc.cluster.local", Duration: time.Millisecond, BytesSent: 100,
	}
	for _, f := range [][2]string{{"x-forwarded-for", "127.0.0.1"}, {"x-forwarded-proto", "http"}, {"x-request-id", "0c5b3f8e-1b3a-4c9d-8d7e-2f6a5b4c3d2e"}} {
		x.Request.Fields.Add(f[0], f[1])
	}
	x.Response.Fields.Add("x-envoy-upstream-service-time", "0")
	b.ReportAllocs()
	for b.Loop() {
		l.Write(x)
		if len(w.lines) > flushAt {
			w.lines = w.lines[:0]
		}
	}
}
