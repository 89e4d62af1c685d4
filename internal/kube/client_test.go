package kube

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

const kubeconfig = `apiVersion: v1
kind: Config
current-context: one
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}, {name: d, cluster: {server: "https://192.0.2.2:6443"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: one, context: {cluster: c, user: u}}, {name: two, context: {cluster: d, user: u}}]
`

func TestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	must(t, os.WriteFile(path, []byte(kubeconfig), 0o600))
	for _, tc := range []struct {
		name        string
		o           ClientOptions
		host, tls   string
		err         string
		manyServers bool
	}{
		{name: "as configured", o: ClientOptions{}, host: "https://192.0.2.1:6443"},
		{name: "another context", o: ClientOptions{Context: "two"}, host: "https://192.0.2.2:6443"},
		{name: "one server", o: ClientOptions{APIServers: []string{"10.0.0.1"}}, host: "https://10.0.0.1:443"},
		{name: "one server, IPv6", o: ClientOptions{APIServers: []string{"https://[fd00::1]:6443/"}}, host: "https://[fd00::1]:6443"},
		{name: "several servers", o: ClientOptions{APIServers: []string{"10.0.0.1:6443", "10.0.0.2:6443"}}, host: "https://" + serverName, tls: serverName, manyServers: true},
		{name: "several servers, one in plain text", o: ClientOptions{APIServers: []string{"10.0.0.1:6443", "http://10.0.0.2"}}, err: "must all be https"},
		{name: "no address", o: ClientOptions{APIServers: []string{"https://"}}, err: `--api-server "https://" is not an address`},
		{name: "a path", o: ClientOptions{APIServers: []string{"https://h/x"}}, err: "is not an address"},
		{name: "no such context", o: ClientOptions{Context: "three"}, err: "three"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.o.Kubeconfig, tc.o.Component, tc.o.Version = path, "node", "v1"
			cfg, err := Config(tc.o)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Host != tc.host || cfg.TLSClientConfig.ServerName != tc.tls || (cfg.Dial != nil) != tc.manyServers || cfg.UserAgent != "weft/node v1" {
				t.Errorf("host %q, server name %q, dial %t, agent %q", cfg.Host, cfg.TLSClientConfig.ServerName, cfg.Dial != nil, cfg.UserAgent)
			}
		})
	}
}

func TestAnyOfStaysWithTheServerThatAnswered(t *testing.T) {
	up := map[string]bool{"b": true, "c": true}
	var dialled []string
	a := &anyOf{addrs: []string{"a", "b", "c"}, dial: func(_ context.Context, _, addr string) (net.Conn, error) {
		dialled = append(dialled, addr)
		if !up[addr] {
			return nil, errors.New(addr + " is down")
		}
		c, _ := net.Pipe()
		return c, nil
	}}
	dial := func() string {
		dialled = nil
		if _, err := a.DialContext(t.Context(), "tcp", "ignored"); err != nil {
			dialled = append(dialled, err.Error())
		}
		return strings.Join(dialled, " ")
	}
	got := []string{dial(), dial()}
	up["b"] = false
	got = append(got, dial())
	up["c"] = false
	got = append(got, dial())
	want := []string{"a b", "b", "b c", "c a b c is down\na is down\nb is down"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

type fixed []KindStatus

func (f fixed) Status() []KindStatus { return f }

func TestCollector(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(Collector(fixed{{Kind: "Service", Source: "api-server", Connected: true, Objects: 3, Events: 5}}))
	want := `
# HELP weft_source_connected Whether changes of the kind arrive (1) or not (0).
# TYPE weft_source_connected gauge
weft_source_connected{kind="Service",source="api-server"} 1
# HELP weft_source_events_total Changes of the kind that arrived after the first list.
# TYPE weft_source_events_total counter
weft_source_events_total{kind="Service",source="api-server"} 5
# HELP weft_source_objects Objects of the kind that the source holds.
# TYPE weft_source_objects gauge
weft_source_objects{kind="Service",source="api-server"} 3
# HELP weft_source_synced Whether all objects of the kind were seen once (1) or not (0).
# TYPE weft_source_synced gauge
weft_source_synced{kind="Service",source="api-server"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
