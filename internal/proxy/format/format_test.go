package format

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weftmesh/weft/internal/proxy/message"
)

func exchange() *message.Info {
	r := &message.Request{Method: "GET", Scheme: "https", Authority: "web:443", Path: "/a?b", Version: message.HTTP2}
	r.Fields.Add("x-id", "one")
	r.Fields.Add("x-id", "two")
	r.Fields.Add("odd", "\"\\\x01\xff\u20ac")
	resp := &message.Response{Status: 503}
	resp.Fields.Add("server", "weft")
	return &message.Info{
		Request: r, Response: resp, Start: time.Date(2024, 2, 3, 4, 5, 6, 7_890_000, time.FixedZone("X", 3600)), Flags: message.NoHealthyUpstream | message.DelayInjected,
		Client: netip.MustParseAddrPort("[::ffff:192.0.2.7]:99"), Local: netip.MustParseAddrPort("[2001:db8::1]:443"), Upstream: netip.MustParseAddrPort("10.0.0.1:8080"),
		RouteName: "r", Origin: "VirtualService a/b", BytesSent: 5, Duration: 1500 * time.Microsecond, Attempts: 2,
	}
}

func TestCommands(t *testing.T) {
	o := Options{Hostname: "pod-1", Getenv: func(name string) string { return "env " + name }}
	for in, want := range map[string]string{
		"plain":                  "plain",
		"100%% of %REQ(x-id)%":   "100% of one",
		"%REQ(X-ID)%%REQ(x-ID)%": "oneone",
		"%REQ(none?x-id)%":       "one",
		"%REQ(x-id?none)%":       "one",
		"%REQ(none)%":            "-",
		"%REQ(x-id):2%":          "on",
		"%REQ(:METHOD)% %REQ(:AUTHORITY)% %REQ(host)% %REQ(x-envoy-original-path?:path)%": "GET web:443 web:443 /a?b",
		"%RESP(server)% %RESP(none)% %RESP(:status)%":                                     "weft - 503",
		"%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %ROUTE_NAME% %BYTES_SENT%":           "HTTP/2 503 UH,DI r 5",
		"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%":            "192.0.2.7:99 192.0.2.7",
		"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%":                              "[2001:db8::1]:443 443",
		"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_PORT%":              "- -",
		"%UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%":       "10.0.0.1:8080 - 2",
		"%START_TIME%":                           "2024-02-03T03:05:06.007Z",
		"%START_TIME(%Y/%m/%d %H:%M:%S.%3f %s)%": "2024/02/03 03:05:06.007 1706929506",
		"%START_TIME(%FT%T %f %E3S)%":            "2024-02-03T03:05:06 007890000 06.007",
		"%DURATION% %RESPONSE_DURATION%":         "1 -",
		"%HOSTNAME% %ENVIRONMENT(HOME)%":         "pod-1 env HOME",
		"%METADATA(ROUTE:weft:origin)%":          "VirtualService a/b",
		"%QUERY_PARAM(b)%%QUERY_PARAM(c)%":       "--",
		// Known to Envoy, and without a value here.
		"%DYNAMIC_METADATA(a:b)% %METADATA(CLUSTER:istio:x)% %TRAILER(a)% %STREAM_ID%": "- - - -",
	} {
		c, err := New(in, o)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := string(c.Append(nil, exchange(), "-")); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestEmptyExchange(t *testing.T) {
	for name := range plain {
		c, err := New("%"+name+"%", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(c.Append(nil, &message.Info{}, "-")); got != "-" {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, text := range []string{"%REQ(a)%", "%RESP(a)%", "%START_TIME%", "%HOSTNAME%", "%ENVIRONMENT(X)%", "%METADATA(ROUTE:weft:origin)%"} {
		c, err := New(text, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(c.Append(nil, &message.Info{}, "-")); got != "-" {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestUnknown(t *testing.T) {
	for in, want := range map[string]string{
		"%NOPE%":                        "%NOPE%: unknown command",
		"%PROTOCOL(x)%":                 "%PROTOCOL(x)%: unknown command",
		"50% of it":                     "is not closed",
		"%REQ(a":                        "is not closed",
		"%REQ(a)":                       "is not closed",
		"%REQ(a):x%":                    "no good length",
		"%REQ(a):0%":                    "no good length",
		"%REQ()%":                       "which field?",
		"%START_TIME(%Q)%":              "not known",
		"%REQ(a):99999999999999999999%": "no good length",
	} {
		if _, err := New(in, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

func TestJSON(t *testing.T) {
	for in, want := range map[string]string{
		"%RESPONSE_CODE%":             `503`,
		"%RESPONSE_CODE% ":            `"503 "`,
		"%RESPONSE_DURATION%":         `null`,
		"%REQ(none)%":                 `null`,
		"a %REQ(none)%":               `"a -"`,
		"%REQ(x-id)%":                 `"one"`,
		"%REQ(odd)%":                  `"\"\\\u0001` + "\ufffd\u20ac" + `"`,
		`"`:                           `"\""`,
		"":                            `""`,
		"%DOWNSTREAM_REMOTE_ADDRESS%": `"192.0.2.7:99"`,
	} {
		c, err := New(in, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := c.AppendJSON([]byte("x"), exchange())
		if string(got) != "x"+want || !json.Valid(got[1:]) {
			t.Errorf("%s: %s, want %s", in, got[1:], want)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	c, err := New("%START_TIME% %REQ(x-id?:path):10% %DOWNSTREAM_REMOTE_ADDRESS% %RESPONSE_CODE% %RESPONSE_FLAGS% %DURATION%", Options{})
	if err != nil {
		t.Fatal(err)
	}
	x, buf := exchange(), make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { c.Append(buf, x, "-"); c.AppendJSON(buf, x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzNew(f *testing.F) {
	for _, s := range []string{"%REQ(a?b):3%", "%%", "%", "%START_TIME(%Y%3f)%", "a%RESPONSE_CODE%b", "%REQ(odd)%", "%REQ(odd):4%"} {
		f.Add(s)
	}
	x := exchange()
	f.Fuzz(func(t *testing.T, text string) {
		c, err := New(text, Options{})
		if err != nil {
			return
		}
		c.Append(nil, x, "-")
		if got := c.AppendJSON(nil, x); !json.Valid(got) || !utf8.Valid(got) {
			t.Errorf("%q: %q is no JSON", text, got)
		}
	})
}

// Eight bytes that are looked at together hide none that must be escaped, wherever it stands and whatever is beside it.
func TestEscape(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			for _, beside := range []string{"a", " ", "~", "!", "[", "]"} {
				text := []byte(strings.Repeat(beside, 20))
				text[at] = byte(c)
				var got string
				if err := json.Unmarshal(append(escape(append([]byte{'"'}, text...), 1), '"'), &got); err != nil {
					t.Fatalf("%q: %v", text, err)
				}
				if want := strings.ToValidUTF8(string(text), "\ufffd"); got != want {
					t.Fatalf("%q is %q, want %q", text, got, want)
				}
			}
		}
	}
	for _, plain := range []string{"", "a", "abcdefgh", "Mozilla/5.0 (X11; Linux x86_64)", "!#[]^_`{|}~ 09"} {
		for i := 0; len(plain)-i >= 8; i++ {
			if special(binary.LittleEndian.Uint64([]byte(plain[i:]))) {
				t.Errorf("%q is taken the slow way", plain[i:i+8])
			}
		}
	}
}
