package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/format"
	"github.com/weftmesh/weft/internal/proxy/message"
)

func entry() *message.Info {
	req := &message.Request{Method: "GET", Path: "/a?b", Authority: "web", Scheme: "http", Version: message.HTTP11}
	req.Fields.Add("user-agent", `say "hi"`)
	resp := &message.Response{Status: 503}
	return &message.Info{
		Request: req, Response: resp, Start: time.Date(2024, 2, 3, 4, 5, 6, 7e6, time.UTC), Flags: message.NoHealthyUpstream,
		Details: "no_healthy_upstream", Origin: "VirtualService default/a spec.http[0]", Duration: 12 * time.Millisecond,
		Client: netip.MustParseAddrPort("10.0.0.1:99"), BytesSent: 7,
	}
}

func config(t *testing.T, text string) *accesslogv3.AccessLog {
	t.Helper()
	c := &accesslogv3.AccessLog{}
	if err := protojson.Unmarshal([]byte(text), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func run(t *testing.T, text string, e *message.Info) (string, error) {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out)
	l, err := Compile([]*accesslogv3.AccessLog{config(t, text)}, func(string) (*Writer, error) { return w, nil }, format.Options{})
	if err != nil {
		return "", err
	}
	l.Write(e)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	w.Run(ctx)
	return out.String(), nil
}

func TestJSON(t *testing.T) {
	got, err := run(t, `{"name":"x","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/dev/stdout",
	"log_format":{"json_format":{"code":"%RESPONSE_CODE%","flags":"%RESPONSE_FLAGS%","ua":"%REQ(USER-AGENT)%","line":"%REQ(:METHOD)% %REQ(X-NO?:PATH)% 100%%",
	"none":"%REQ(X-NONE)%","t":"%START_TIME%","o":{"origin":"%METADATA(ROUTE:weft:origin)%","n":1,"b":true},"l":["%DURATION%","%PROTOCOL%"],
	"from":"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%","up":"%UPSTREAM_HOST%","cut":"%REQ(:AUTHORITY):2%","empty":""}}}}`, entry())
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(got), &v); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	want := map[string]any{
		"code": 503.0, "flags": "UH", "ua": `say "hi"`, "line": "GET /a?b 100%", "none": nil, "t": "2024-02-03T04:05:06.007Z",
		"o": map[string]any{"origin": "VirtualService default/a spec.http[0]", "n": 1.0, "b": true}, "l": []any{12.0, "HTTP/1.1"},
		"from": "10.0.0.1", "up": nil, "cut": "we", "empty": "",
	}
	if d := cmp.Diff(want, v); d != "" {
		t.Error(d)
	}
}

func TestText(t *testing.T) {
	const plain = `{"typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"}}`
	got, err := run(t, plain, entry())
	if err != nil {
		t.Fatal(err)
	}
	want := `[2024-02-03T04:05:06.007Z] "GET /a?b HTTP/1.1" 503 UH 0 7 12 - "-" "say "hi"" "-" "web" "-"` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestFilters(t *testing.T) {
	for filter, logged := range map[string]bool{
		`{"status_code_filter":{"comparison":{"op":"GE","value":{"default_value":500,"runtime_key":"x"}}}}`: true,
		`{"status_code_filter":{"comparison":{"op":"LE","value":{"default_value":499,"runtime_key":"x"}}}}`: false,
		`{"response_flag_filter":{"flags":["NR"]}}`:                                                         false,
		`{"response_flag_filter":{"flags":["UH"]}}`:                                                         true,
		`{"response_flag_filter":{}}`:                                                                       true,
		`{"duration_filter":{"comparison":{"op":"GE","value":{"default_value":13,"runtime_key":"x"}}}}`:     false,
	} {
		got, err := run(t, `{"filter":`+filter+`,"typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"}}`, entry())
		if err != nil || (got != "") != logged {
			t.Errorf("%s: logged %q, %v", filter, got, err)
		}
	}
}

func TestErrorsNameTheField(t *testing.T) {
	for text, want := range map[string]string{
		`%NONSENSE%`: "NONSENSE", `%REQ(x%`: "REQ", `%REQ(x):a%`: "length",
	} {
		_, err := run(t, `{"typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog","log_format":{"json_format":{"k":"`+text+`"}}}}`, entry())
		if err == nil || !strings.HasPrefix(err.Error(), "access_log[0].log_format.json_format.k") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestFullBufferDrops(t *testing.T) {
	w := NewWriter(&bytes.Buffer{})
	line := make([]byte, maxBuffered/2)
	for range 3 {
		w.line(line)
	}
	if w.Dropped() != 1 {
		t.Errorf("%d dropped", w.Dropped())
	}
}

func TestFiles(t *testing.T) {
	f := NewFiles(&bytes.Buffer{}, &bytes.Buffer{})
	path := filepath.Join(t.TempDir(), "log")
	a, err := f.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := f.Open(path); a != b {
		t.Error("two writers of one file")
	}
	a.line([]byte("one\n"))
	f.Close()
	if got, _ := os.ReadFile(path); string(got) != "one\n" {
		t.Errorf("got %q", got)
	}
}
