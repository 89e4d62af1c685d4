package resource

import (
	"encoding/binary"
	"reflect"
	"regexp"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
)

// filler makes values of any type out of bytes.
type filler struct{ data []byte }

func (f *filler) next() byte {
	if len(f.data) == 0 {
		return 0
	}
	b := f.data[0]
	f.data = f.data[1:]
	return b
}

// words are what texts are made of besides bytes: pieces that mean something to a proxy.
var words = []string{"", "/", "*", "%", "%REQ(", ")%", "%PROTOCOL%", "[", "(a)", `\1`, "host", ":path", "*.", "a.test", "x-h", "?", "503", "5xx,", "\x00", "\xff", "é"}

func (f *filler) text() (s string) {
	for n := f.next() % 4; n > 0; n-- {
		if b := f.next(); b%2 == 0 {
			s += words[int(b/2)%len(words)]
		} else {
			s += string(rune(f.next()))
		}
	}
	return s
}

func (f *filler) fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(f.text())
	case reflect.Bool:
		v.SetBool(f.next()%2 == 1)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(f.number())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(f.number()))
	case reflect.Float64:
		v.SetFloat(float64(f.number()) / 7)
	case reflect.Pointer:
		if f.next()%2 == 1 && depth < 8 {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), depth+1)
		}
	case reflect.Slice:
		n := int(f.next() % 4)
		if depth > 6 {
			n = 0
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				f.fill(v.Field(i), depth+1)
			}
		}
	}
}

func (f *filler) number() int64 {
	switch b := f.next(); {
	case b < 128:
		return int64(b)
	case b < 192:
		return -int64(f.next())
	default:
		var raw [8]byte
		for i := range raw {
			raw[i] = f.next()
		}
		return int64(binary.LittleEndian.Uint64(raw[:]))
	}
}

// Whatever the model says, nothing panics, and what is said is valid by Envoy's own rules.
func FuzzCompile(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x03\x01\x07\x02\x05\x03\x09\x01\x01\x01\x02\x02\x03\x03\x01\x01\x01\x01\x01"))
	for i := range byte(32) {
		seed := make([]byte, 400)
		for j := range seed {
			seed[j] = byte(j)*7 + i*31 ^ byte(j>>3)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &filler{data}
		var (
			host     model.VirtualHost
			listener model.Listener
			cluster  model.Cluster
			ends     model.ClusterEndpoints
			policy   *model.TrafficPolicy
		)
		for _, p := range []any{&host, &policy, &listener, &cluster, &ends} {
			in.fill(reflect.ValueOf(p).Elem(), 0)
		}
		o := Options{AccessLog: true}
		if h, _ := VirtualHost(&host, func(model.Destination) *model.TrafficPolicy { return policy }); h != nil {
			body := Marshal(h)
			if len(body) == 0 {
				t.Fatal("a virtual host cannot be marshalled")
			}
			var table routev3.RouteConfiguration
			if err := proto.Unmarshal(RouteTable("t", [][]byte{body, body}), &table); err != nil || len(table.VirtualHosts) != 2 || !proto.Equal(table.VirtualHosts[1], h) {
				t.Fatalf("%v: %v", err, &table)
			}
			checkRegexes(t, h)
		}
		if l, _ := Listener(model.Fleet{Namespace: "ns"}, &listener, o); l != nil && len(Marshal(l)) == 0 {
			t.Error("a listener cannot be marshalled")
		}
		if c, _ := Cluster("ns", &cluster, o); c != nil && len(Marshal(c)) == 0 {
			t.Error("a cluster cannot be marshalled")
		}
		e := Endpoints("c", &ends)
		if err := e.ValidateAll(); err != nil {
			t.Error(err)
		}
	})
}

// checkRegexes makes sure that no expression gets out that does not compile: Envoy would reject all routes for it.
func checkRegexes(t *testing.T, h *routev3.VirtualHost) {
	for _, r := range h.Routes {
		for _, expr := range []string{r.GetMatch().GetSafeRegex().GetRegex(), r.GetRoute().GetRegexRewrite().GetPattern().GetRegex()} {
			if _, err := regexp.Compile(expr); err != nil {
				t.Error(err)
			}
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"outbound|80|v1|web.shop", "outbound|080||x", "kubernetes://a", "kubernetes://a/b-cacert", "kubernetes://-cacert", "%REQ(a)%", "%%%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := ParseClusterName(s); ok && ClusterName(d) != s {
			t.Errorf("%q is read as %v", s, d)
		}
		names, ca := ParseSecretName(s, "ns")
		if len(names) > 0 && SecretName(names[0], "ns", ca) != s && SecretName(names[0], "other", ca) != s {
			t.Errorf("%q is read as %v", s, names)
		}
		if v := headerValue(s); headerValue(v) != v {
			t.Errorf("%q becomes %q, and that %q", s, v, headerValue(v))
		}
	})
}
