package admin

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

func (a *Admin) index(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte(`admin commands are:
  /certs              certificates in use
  /clusters           clusters and their endpoints (?format=json)
  /config_dump        configuration in force (?resource=dynamic_listeners, ?mask is not known)
  /debug/pprof/       profiles of this process
  /drain_listeners    POST: end connections in order, then the process
  /index              what is known of the mesh (?address=IP who runs there, ?host=NAME&port=N&namespace=NS which Service that is)
  /listeners          listeners and the addresses they are bound to (?format=json: and where servers were seen to speak first)
  /logging            level of the log; POST ?level=debug changes it
  /quitquitquit       POST: the same as /drain_listeners
  /ready              whether the proxy serves
  /server_info        version and age of this process
  /stats              counters and gauges, one a line
  /stats/prometheus   the same for Prometheus
  /xds                versions wanted and acknowledged, and rejections
`))
}

func (a *Admin) prometheus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = a.options.Stats.WriteTo(w)
}

// stats writes plain counters as Envoy does: name: value.
func (a *Admin) stats(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") == "prometheus" {
		a.prometheus(w, r)
		return
	}
	filter := r.URL.Query().Get("filter")
	line := func(name string, v int64) {
		if strings.Contains(name, filter) {
			_, _ = fmt.Fprintf(w, "%s: %d\n", name, v)
		}
	}
	for _, c := range a.options.Server.Clusters() {
		for _, s := range c.Stats {
			line("cluster."+c.Name+"."+s.Name, s.Value)
		}
	}
	var text bytes.Buffer
	_, _ = a.options.Stats.WriteTo(&text)
	for l := range strings.Lines(text.String()) {
		if strings.HasPrefix(l, "weft_") && strings.Contains(l, filter) {
			_, _ = w.Write([]byte(strings.Replace(l, " ", ": ", 1)))
		}
	}
}

func asJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	_ = e.Encode(v)
}

func (a *Admin) serverInfo(w http.ResponseWriter, _ *http.Request) {
	state := "PRE_INITIALIZING"
	switch {
	case a.options.Server.Draining():
		state = "DRAINING"
	case a.options.Ready():
		state = "LIVE"
	}
	host, _ := os.Hostname()
	age := fmt.Sprintf("%ds", int(time.Since(a.started).Seconds()))
	info := map[string]any{
		"version": "weft/" + a.options.Version, "state": state, "hot_restart_version": "disabled", "uptime_current_epoch": age, "uptime_all_epochs": age,
		"command_line_options": map[string]any{"concurrency": runtime.GOMAXPROCS(0)}, "hostname": host,
	}
	if node, err := protojson.Marshal(a.options.Bootstrap.Node); err == nil {
		info["node"] = json.RawMessage(node)
	}
	asJSON(w, info)
}

func (a *Admin) listeners(w http.ResponseWriter, r *http.Request) {
	all := a.options.Server.Listeners()
	if r.URL.Query().Get("format") != "json" {
		for _, l := range all {
			for _, at := range l.Addresses {
				_, _ = fmt.Fprintf(w, "%s::%s\n", l.Name, at)
			}
			if l.Error != "" {
				_, _ = fmt.Fprintf(w, "%s::error::%s\n", l.Name, l.Error)
			}
		}
		return
	}
	type status struct {
		Name        string           `json:"name"`
		Local       []map[string]any `json:"local_addresses"`
		Warming     bool             `json:"warming,omitempty"`
		Error       string           `json:"error,omitempty"`
		Chains      int              `json:"filter_chains"`
		Connections int              `json:"connections"`
	}
	out := []status{}
	for _, l := range all {
		s := status{Name: l.Name, Warming: l.Warming, Error: l.Error, Chains: l.Chains, Connections: l.Connections}
		for _, at := range l.Addresses {
			s.Local = append(s.Local, map[string]any{"socket_address": map[string]any{"address": at.Addr().String(), "port_value": at.Port()}})
		}
		out = append(out, s)
	}
	learned := []string{}
	for _, at := range a.options.Server.Learned() {
		learned = append(learned, at.String())
	}
	asJSON(w, map[string]any{"listener_statuses": out, "servers_speak_first": learned})
}

func (a *Admin) clusters(w http.ResponseWriter, r *http.Request) {
	all := a.options.Server.Clusters()
	if r.URL.Query().Get("format") == "json" {
		asJSON(w, clustersJSON(all))
		return
	}
	for _, c := range all {
		for p, l := range c.Limits {
			name := [...]string{"default", "high"}[p]
			for _, v := range []struct {
				what string
				n    int64
			}{{"max_connections", l.MaxConnections}, {"max_pending_requests", l.MaxPendingRequests}, {"max_requests", l.MaxRequests}, {"max_retries", l.MaxRetries}} {
				_, _ = fmt.Fprintf(w, "%s::%s_priority::%s::%d\n", c.Name, name, v.what, v.n)
			}
		}
		for _, e := range c.Endpoints {
			for _, s := range e.Stats {
				_, _ = fmt.Fprintf(w, "%s::%s::%s::%d\n", c.Name, e.Address, s.Name, s.Value)
			}
			_, _ = fmt.Fprintf(w, "%[1]s::%[2]s::hostname::%[3]s\n%[1]s::%[2]s::health_flags::%[4]s\n%[1]s::%[2]s::weight::%[5]d\n%[1]s::%[2]s::priority::%[6]d\n",
				c.Name, e.Address, e.Hostname, e.Health, e.Weight, e.Priority)
			_, _ = fmt.Fprintf(w, "%[1]s::%[2]s::region::%[3]s\n%[1]s::%[2]s::zone::%[4]s\n%[1]s::%[2]s::sub_zone::%[5]s\n",
				c.Name, e.Address, e.Locality.Region, e.Locality.Zone, e.Locality.SubZone)
		}
	}
}

func (a *Admin) xds(w http.ResponseWriter, _ *http.Request) {
	if a.options.XDS == nil {
		http.Error(w, "all configuration is static", http.StatusNotFound)
		return
	}
	asJSON(w, a.options.XDS.Status())
}

// certs shows the certificates that Secrets hold, without their keys.
func (a *Admin) certs(w http.ResponseWriter, _ *http.Request) {
	type certificate struct {
		Secret     string   `json:"secret"`
		Subject    string   `json:"subject"`
		Names      []string `json:"subject_alt_names"`
		Serial     string   `json:"serial_number"`
		NotBefore  string   `json:"valid_from"`
		NotAfter   string   `json:"expiration_time"`
		DaysLeft   int      `json:"days_until_expiration"`
		Trusted    bool     `json:"ca,omitempty"`
		Unreadable string   `json:"error,omitempty"`
	}
	out := []certificate{}
	add := func(secret string, chain *corev3.DataSource, trusted bool) {
		text := chain.GetInlineBytes()
		if s := chain.GetInlineString(); s != "" {
			text = []byte(s)
		}
		for len(text) > 0 {
			var block *pem.Block
			if block, text = pem.Decode(text); block == nil {
				return
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				out = append(out, certificate{Secret: secret, Unreadable: err.Error()})
				continue
			}
			names := slices.Clone(c.DNSNames)
			for _, u := range c.URIs {
				names = append(names, u.String())
			}
			for _, ip := range c.IPAddresses {
				names = append(names, ip.String())
			}
			out = append(out, certificate{
				Secret: secret, Subject: c.Subject.String(), Names: names, Serial: fmt.Sprintf("%x", c.SerialNumber), Trusted: trusted,
				NotBefore: c.NotBefore.UTC().Format(time.RFC3339), NotAfter: c.NotAfter.UTC().Format(time.RFC3339), DaysLeft: int(time.Until(c.NotAfter).Hours() / 24),
			})
		}
	}
	for _, r := range a.resources(xdsclient.SecretType) {
		s := &tlsv3.Secret{}
		if r.Resource.UnmarshalTo(s) != nil {
			continue
		}
		add(r.Name, s.GetTlsCertificate().GetCertificateChain(), false)
		add(r.Name, s.GetValidationContext().GetTrustedCa(), true)
	}
	asJSON(w, map[string]any{"certificates": out})
}
