package policies

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/explain"
	"github.com/weftmesh/weft/internal/kube"
	"github.com/weftmesh/weft/internal/lower/istio"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/proxy"
	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/store"
)

// declaredFile is objects, and what they make of requests to a workload of namespace shop with the label app: web.
//
//	-- objects --
//	kind: AuthorizationPolicy ...   PORT is the workload's port for HTTP, JWKS the keys that tokens are signed with
//	-- cases --
//	GET /a                     or "TCP"
//	> from cluster.local/...   the client's certificate; without it the connection is in plaintext
//	> token {"iss": "me"}      the claims of a token; "badtoken" is signed by somebody else
//	> x-user: me               a header
//	< 200                      or "403 POLICY" as the access log names it, "401", "open" or "closed"
type declaredFile struct {
	name, objects string
	cases         []declaredCase
}

type declaredCase struct {
	line         int
	method, path string // "TCP" for a connection
	from, want   string
	claims       map[string]any
	forged       bool
	headers      http.Header
}

func loadDeclared(t *testing.T) (files []*declaredFile) {
	t.Helper()
	names, _ := filepath.Glob("testdata/*.txt")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		objects, cases, _ := strings.Cut(string(text), "-- cases --\n")
		f := &declaredFile{name: strings.TrimSuffix(filepath.Base(name), ".txt"), objects: strings.TrimPrefix(objects, "-- objects --\n")}
		for i, line := range strings.Split(cases, "\n") {
			f.read(t, strings.Count(objects, "\n")+2+i, line)
		}
		files = append(files, f)
	}
	return files
}

func (f *declaredFile) read(t *testing.T, number int, line string) {
	t.Helper()
	word, rest, _ := strings.Cut(line, " ")
	if line == "" || word == "#" {
		return
	}
	if word != ">" && word != "<" {
		f.cases = append(f.cases, declaredCase{line: number, method: word, path: rest, headers: http.Header{}})
		return
	}
	c := &f.cases[len(f.cases)-1]
	if word == "<" {
		c.want = rest
		return
	}
	key, value, _ := strings.Cut(rest, " ")
	switch key {
	case "from":
		c.from = value
	case "token", "badtoken":
		c.forged = key == "badtoken"
		if err := json.Unmarshal([]byte(value), &c.claims); err != nil {
			t.Fatalf("%s:%d: %v", f.name, number, err)
		}
	default:
		c.headers.Add(strings.TrimSuffix(key, ":"), value)
	}
}

// guard is what the objects come to.
func (f *declaredFile) guard(t *testing.T, port, keys string) model.Guard {
	t.Helper()
	quoted := strings.ReplaceAll(keys, "'", "''")
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(strings.NewReplacer("PORT", port, "JWKS", "'"+quoted+"'").Replace(f.objects)), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := kube.ReadFiles(file)
	if err != nil {
		t.Fatal(err)
	}
	s := store.New(nil)
	tables := kube.NewTables(s)
	lowered := istio.Define(s.DB(), istio.Objects{
		Gateways: tables.Gateways, VirtualServices: tables.VirtualServices, DestinationRules: tables.DestinationRules, ServiceEntries: tables.ServiceEntries, WorkloadEntries: tables.WorkloadEntries,
		PeerAuthentications: tables.PeerAuthentications, AuthorizationPolicies: tables.AuthorizationPolicies, RequestAuthentications: tables.RequestAuthentications,
	}, istio.Options{})
	if found := kube.Load(s.Source("test"), files, tables.Kind.AuthorizationPolicy, tables.Kind.RequestAuthentication); len(found) > 0 {
		t.Fatal(found)
	}
	return derive.Define(s.DB(), "guard", nil, func(r *derive.Reader, _ struct{}) model.Guard { return lowered.GuardFor(r, "shop", "app=web") }).Read(struct{}{})
}

// TestDeclared tries every case on the model, on weft's proxy and on Envoy.
func TestDeclared(t *testing.T) {
	files := loadDeclared(t)
	trust := newAuthority(t)
	backend := endpoint(t, "")
	t.Run("model", func(t *testing.T) {
		for _, f := range files {
			guard := f.guard(t, "8080", trust.keys())
			for _, c := range f.cases {
				c.judge(t, f, guard)
			}
		}
	})
	for name, start := range map[string]func(*testing.T, string, map[string]string){"weft": startDeclaredWeft, "envoy": startDeclaredEnvoy} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "access.log")
			at := map[string]string{}
			config, err := protojson.Marshal(declaredBootstrap(t, files, trust, backend, log, at))
			if err != nil {
				t.Fatal(err)
			}
			start(t, string(config), at)
			for _, f := range files {
				for _, c := range f.cases {
					if got := c.ask(t, f, trust, at, log); got != c.want {
						t.Errorf("%s.txt:%d: %s %s: %s, want %s", f.name, c.line, c.method, c.path, got, c.want)
					}
				}
			}
		})
	}
}

var ruleOf = regexp.MustCompile(`^spec\.rules\[(\d+)\]$`)

// judge compares with what explain says. It does not look at signatures.
func (c *declaredCase) judge(t *testing.T, f *declaredFile, guard model.Guard) {
	t.Helper()
	if c.want == "401" || c.want == byToken {
		return
	}
	a := explain.Approach{Principal: c.from, From: netip.MustParseAddr("127.0.0.1"), To: netip.MustParseAddrPort("127.0.0.1:8080")}
	if c.method == "TCP" {
		a.To = netip.MustParseAddrPort("127.0.0.1:9000")
	} else {
		at, _, _ := strings.Cut(c.path, "?")
		if normal := path.Clean(at); normal != strings.TrimSuffix(at, "/") {
			at = normal
		}
		claims := maps.Clone(c.claims)
		if scope, ok := claims["scope"].(string); ok { // a list to proxies
			var list []any
			for word := range strings.FieldsSeq(scope) {
				list = append(list, word)
			}
			claims["scope"] = list
		}
		q := &explain.ApproachingRequest{Method: c.method, Path: at, Host: c.headers.Get("host"), Headers: map[string][]string{}, Claims: claims}
		for name, values := range c.headers {
			q.Headers[strings.ToLower(name)] = values
		}
		if forwarded := c.headers.Get("x-forwarded-for"); forwarded != "" {
			a.Remote = netip.MustParseAddr(forwarded)
		}
		a.Request = q
	}
	var trail explain.Trail
	j := explain.Authorize(&trail, guard.Authorizations, a)
	want := c.want == "200" || c.want == "open"
	if j.Allowed != want {
		t.Errorf("%s.txt:%d: %s %s: %+v, want %s\n%+v", f.name, c.line, c.method, c.path, j, c.want, trail.Steps)
	}
	if m := ruleOf.FindStringSubmatch(j.Rule.Field); m != nil && strings.Contains(c.want, "policy[") && !strings.Contains(c.want, "CUSTOM") {
		if got := fmt.Sprintf("403 ns[%s]-policy[%s]-rule[%s]", j.Rule.Namespace, j.Rule.Name, m[1]); got != c.want {
			t.Errorf("%s.txt:%d: %s, want %s", f.name, c.line, got, c.want)
		}
	}
}

func startDeclaredWeft(t *testing.T, config string, at map[string]string) {
	t.Helper()
	b, err := bootstrap.Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddrPort("127.0.0.1:0")
	p, err := proxy.New(proxy.Options{
		Bootstrap: b, DrainTime: -1, Admin: loopback, Metrics: loopback, Health: loopback, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	listening(t, at)
}

func startDeclaredEnvoy(t *testing.T, config string, at map[string]string) {
	t.Helper()
	envoy := os.Getenv("WEFT_ENVOY")
	if envoy == "" {
		t.Skip("WEFT_ENVOY does not say where Envoy is (scripts/envoy.sh)")
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, envoy, "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error", "--file-flush-interval-msec", "10")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = cmd.Wait() })
	listening(t, at)
}

// listening waits until something listens at all addresses.
func listening(t *testing.T, at map[string]string) {
	t.Helper()
	for name, address := range at {
		eventually(t, "something listens for "+name, func() bool {
			conn, err := net.DialTimeout("tcp", address, time.Second)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
}
