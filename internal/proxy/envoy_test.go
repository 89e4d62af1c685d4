package proxy_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// startEnvoy runs stock Envoy with listeners, clusters and an identity, and gives where its listeners are. WEFT_ENVOY names it (scripts/envoy.sh); without
// it the test is skipped.
func startEnvoy(t *testing.T, ca *authority, id string, listeners, clusters []string) func(name string) string {
	t.Helper()
	envoy := os.Getenv("WEFT_ENVOY")
	if envoy == "" {
		t.Skip("WEFT_ENVOY does not say where Envoy is (scripts/envoy.sh)")
	}
	at := map[string]string{}
	for i, l := range listeners {
		name, _, _ := strings.Cut(strings.TrimPrefix(l, "{name: "), ",")
		free := freeport.Hold(t)
		at[name] = free.String()
		listeners[i] = strings.Replace(l, "port_value: 0", fmt.Sprintf("port_value: %d", free.Port()), 1)
	}
	cert, key := ca.issue(id, time.Hour)
	secrets := fmt.Sprintf(`secrets: [{name: default, tls_certificate: {certificate_chain: {inline_string: %q}, private_key: {inline_string: %q}}},
		{name: ROOTCA, validation_context: {trusted_ca: {inline_string: %q}}}]`, cert, key, ca.pem)
	dir := t.TempDir()
	text := "node: {id: test, cluster: test}\nstatic_resources: {" + secrets + ",\nlisteners: [" + strings.Join(listeners, ",\n") +
		"],\nclusters: [" + strings.Join(clusters, ",\n") + "]}\n"
	text = strings.ReplaceAll(strings.ReplaceAll(text, ", "+sdsConfig, ""), "ACCESS_LOG", filepath.Join(dir, "log")) // static Secrets have no source
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, envoy, "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "-l", "warn")
	var said lines
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Envoy said: %s", said.String())
		}
	})
	for name, addr := range at {
		eventually(t, "Envoy listens as "+name, func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
	return func(name string) string { return at[name] }
}

// lines is what a process says.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Stock Envoy on either side of the mesh's TLS, with the same resources.
func TestMutualTLSWithEnvoy(t *testing.T) {
	ca := newAuthority(t)
	clusters := []string{cluster("web", "", backend(t, echo)), cluster("bytes", "", bytesApp(t))}
	t.Run("client", func(t *testing.T) {
		server := newIdentity(t, ca, shop).start(t, []string{meshServer(true)}, clusters)
		listeners, clusters := meshClient(server.addr("main"), shop)
		checkPair(t, startEnvoy(t, ca, cart, listeners, clusters))
	})
	t.Run("server", func(t *testing.T) {
		addr := startEnvoy(t, ca, shop, []string{meshServer(true)}, clusters)
		listeners, clusters := meshClient(addr("main"), shop)
		client := newIdentity(t, ca, cart).start(t, listeners, clusters)
		checkPair(t, client.addr)
	})
}
