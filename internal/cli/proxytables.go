package cli

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/xds/resource"
)

// proxyPart is something that a proxy is configured with. read gives rows for people, and what was read for programs.
type proxyPart struct {
	name, short, path string
	aliases           []string
	read              func(raw []byte) (rows [][]string, v any, err error)
}

var proxyParts = []proxyPart{
	{"listeners", "Show where it listens, and what connections are routed by", "/config_dump", []string{"listener"}, listenerRows},
	{"routes", "Show virtual hosts and their rules", "/config_dump", []string{"route"}, routeRows},
	{"clusters", "Show what requests can be sent to", "/config_dump", []string{"cluster"}, clusterRows},
	{"endpoints", "Show where clusters lead, and whether it is well", "/clusters?format=json", []string{"endpoint"}, endpointRows},
	{"secrets", "Show certificates, without their keys", "/config_dump", []string{"secret"}, secretRows},
}

// decode reads a resource out of a dump, whoever wrote it.
func decode(raw json.RawMessage, into proto.Message) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	delete(fields, "@type")
	b, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, into)
}

// raws collects what programs are given: the resources as the proxy wrote them.
type raws []json.RawMessage

func origin(m *corev3.Metadata) string {
	return m.GetFilterMetadata()["weft"].GetFields()["origin"].GetStringValue()
}

func listenerRows(raw []byte) (rows [][]string, _ any, err error) {
	var d dump
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, nil, err
	}
	rows = [][]string{{"LISTENER", "ADDRESS", "MATCH", "DESTINATION", "DECLARED IN"}}
	out := raws{}
	for _, c := range d.Configs {
		for _, l := range c.Listeners {
			state, note := l.Active, ""
			if state == nil {
				state, note = l.Warming, " (warming)"
			}
			if state == nil {
				why := ""
				if l.Error != nil {
					why = l.Error.Details
				}
				rows = append(rows, []string{l.Name, "", "", "rejected: " + why, ""})
				continue
			}
			out = append(out, state.Listener)
			var m listenerv3.Listener
			if err := decode(state.Listener, &m); err != nil {
				return nil, nil, fmt.Errorf("listener %s: %w", l.Name, err)
			}
			sa := m.GetAddress().GetSocketAddress()
			for _, chain := range m.GetFilterChains() {
				rows = append(rows, []string{m.GetName() + note, net.JoinHostPort(sa.GetAddress(), fmt.Sprint(sa.GetPortValue())), chainMatch(chain), chainTarget(chain), origin(chain.GetMetadata())})
			}
		}
	}
	slices.SortStableFunc(rows[1:], func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return rows, out, nil
}

func chainMatch(c *listenerv3.FilterChain) string {
	if names := c.GetFilterChainMatch().GetServerNames(); len(names) > 0 {
		return "SNI " + strings.Join(names, ",")
	}
	if t := c.GetFilterChainMatch().GetTransportProtocol(); t != "" {
		return t
	}
	return "all"
}

func chainTarget(c *listenerv3.FilterChain) string {
	for _, f := range c.GetFilters() {
		m, err := f.GetTypedConfig().UnmarshalNew()
		if err != nil {
			return f.GetName()
		}
		tls := ""
		if c.GetTransportSocket() != nil {
			tls = ", TLS terminated"
		}
		switch m := m.(type) {
		case *hcmv3.HttpConnectionManager:
			if name := m.GetRds().GetRouteConfigName(); name != "" {
				return "routes " + name + tls
			}
			return "routes of its own" + tls
		case *tcpproxyv3.TcpProxy:
			to := m.GetCluster()
			for _, w := range m.GetWeightedClusters().GetClusters() {
				to += fmt.Sprintf(" %s=%d", w.GetName(), w.GetWeight())
			}
			return "cluster " + strings.TrimSpace(to) + tls
		}
	}
	return ""
}

func routeRows(raw []byte) (rows [][]string, _ any, err error) {
	var d dump
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, nil, err
	}
	rows = [][]string{{"ROUTES", "VIRTUAL HOST", "DOMAINS", "MATCH", "ACTION", "DECLARED IN"}}
	out := raws{}
	for _, c := range d.Configs {
		for _, r := range c.Routes {
			out = append(out, r.Config)
			var m routev3.RouteConfiguration
			if err := decode(r.Config, &m); err != nil {
				return nil, nil, fmt.Errorf("route configuration: %w", err)
			}
			for _, h := range m.GetVirtualHosts() {
				for _, r := range h.GetRoutes() {
					rows = append(rows, []string{m.GetName(), h.GetName(), strings.Join(h.GetDomains(), ","), matchText(r.GetMatch()), actionText(r), origin(r.GetMetadata())})
				}
				if len(h.GetRoutes()) == 0 {
					rows = append(rows, []string{m.GetName(), h.GetName(), strings.Join(h.GetDomains(), ","), "", "", origin(h.GetMetadata())})
				}
			}
		}
	}
	return rows, out, nil
}

func matchText(m *routev3.RouteMatch) (s string) {
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		s = p.Prefix + "*"
	case *routev3.RouteMatch_Path:
		s = p.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		s = p.PathSeparatedPrefix + "[/*]"
	case *routev3.RouteMatch_SafeRegex:
		s = "regex " + p.SafeRegex.GetRegex()
	}
	for _, h := range m.GetHeaders() {
		s += " header " + h.GetName()
	}
	for _, q := range m.GetQueryParameters() {
		s += " query " + q.GetName()
	}
	return s
}

func actionText(r *routev3.Route) string {
	switch a := r.GetAction().(type) {
	case *routev3.Route_Route:
		var to []string
		for _, w := range a.Route.GetWeightedClusters().GetClusters() {
			to = append(to, fmt.Sprintf("%s=%d", w.GetName(), w.GetWeight().GetValue()))
		}
		if c := a.Route.GetCluster(); c != "" {
			to = append(to, c)
		}
		return strings.Join(to, " ")
	case *routev3.Route_Redirect:
		return "redirect"
	case *routev3.Route_DirectResponse:
		return fmt.Sprintf("answer %d", a.DirectResponse.GetStatus())
	}
	return ""
}

func clusterRows(raw []byte) (rows [][]string, _ any, err error) {
	var d dump
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, nil, err
	}
	rows = [][]string{{"CLUSTER", "HOST", "PORT", "SUBSET", "TYPE", "BALANCE", "DECLARED IN"}}
	out := raws{}
	for _, c := range d.Configs {
		for i, list := range [][]struct {
			Cluster json.RawMessage `json:"cluster"`
		}{c.StaticClusters, c.Clusters, c.WarmingClusters} {
			for _, x := range list {
				out = append(out, x.Cluster)
				var m clusterv3.Cluster
				if err := decode(x.Cluster, &m); err != nil {
					return nil, nil, fmt.Errorf("cluster: %w", err)
				}
				row := []string{m.GetName(), "-", "-", "-", m.GetType().String(), m.GetLbPolicy().String(), origin(m.GetMetadata())}
				if k, ok := resource.ParseClusterName(m.GetName()); ok {
					row[1], row[2], row[3] = k.Host, fmt.Sprint(k.Port), k.Subset
				}
				if i == 2 {
					row[4] += " (warming)"
				}
				rows = append(rows, row)
			}
		}
	}
	slices.SortStableFunc(rows[1:], func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return rows, out, nil
}

func endpointRows(raw []byte) (rows [][]string, v any, err error) {
	var d struct {
		Clusters []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Address json.RawMessage `json:"address"`
				Health  json.RawMessage `json:"health_status"`
				Flags   string          `json:"health_flags"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, nil, err
	}
	rows = [][]string{{"ENDPOINT", "HEALTH", "CLUSTER"}}
	for _, c := range d.Clusters {
		for _, h := range c.Hosts {
			rows = append(rows, []string{addressText(h.Address), healthText(h.Health, h.Flags), c.Name})
		}
	}
	slices.SortFunc(rows[1:], func(a, b []string) int { return strings.Compare(a[2]+a[0], b[2]+b[0]) })
	return rows, json.RawMessage(raw), nil
}

// addressText reads an address as Envoy writes it, or as plain text.
func addressText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var a corev3.Address
	if err := decode(raw, &a); err != nil {
		return string(raw)
	}
	if p := a.GetPipe().GetPath(); p != "" {
		return p
	}
	return net.JoinHostPort(a.GetSocketAddress().GetAddress(), fmt.Sprint(a.GetSocketAddress().GetPortValue()))
}

// healthText names what is wrong with an endpoint, "healthy" if nothing is.
func healthText(raw json.RawMessage, flags string) string {
	if flags != "" {
		return flags
	}
	var status map[string]any
	if json.Unmarshal(raw, &status) != nil {
		return "unknown"
	}
	var bad []string
	for k, v := range status {
		switch v := v.(type) {
		case bool:
			if v {
				bad = append(bad, strings.ReplaceAll(k, "_", " "))
			}
		case string:
			if k == "eds_health_status" && v != "HEALTHY" && v != "UNKNOWN" {
				bad = append(bad, strings.ToLower(v))
			}
		}
	}
	if len(bad) == 0 {
		return "healthy"
	}
	slices.Sort(bad)
	return strings.Join(bad, ", ")
}

func secretRows(raw []byte) (rows [][]string, _ any, err error) {
	var d dump
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, nil, err
	}
	rows = [][]string{{"SECRET", "KIND", "STATE", "NAMES", "NOT AFTER"}}
	type secret struct {
		Name     string    `json:"name"`
		Kind     string    `json:"kind"`
		Names    []string  `json:"names,omitempty"`
		NotAfter time.Time `json:"notAfter,omitzero"`
		Warming  bool      `json:"warming,omitempty"`
	}
	out := []secret{}
	for _, c := range d.Configs {
		for _, x := range c.Secrets {
			var m tlsv3.Secret
			if err := decode(x.Secret, &m); err != nil {
				return nil, nil, fmt.Errorf("secret %s: %w", x.Name, err)
			}
			s := secret{Name: x.Name, Kind: "certificate"}
			data := m.GetTlsCertificate().GetCertificateChain()
			if m.GetValidationContext() != nil {
				s.Kind, data = "CA", m.GetValidationContext().GetTrustedCa()
			}
			text := data.GetInlineBytes()
			if len(text) == 0 {
				text = []byte(data.GetInlineString())
			}
			if cert := firstCertificate(text); cert != nil {
				s.Names, s.NotAfter = cert.DNSNames, cert.NotAfter
				if len(s.Names) == 0 {
					s.Names = []string{cert.Subject.CommonName}
				}
			}
			out = append(out, s)
		}
		for _, x := range c.WarmingSecrets {
			out = append(out, secret{Name: x.Name, Warming: true})
		}
	}
	for _, s := range out {
		state, until := "active", ""
		if s.Warming {
			state = "missing"
		}
		if !s.NotAfter.IsZero() {
			until = s.NotAfter.UTC().Format(time.RFC3339)
		}
		rows = append(rows, []string{s.Name, s.Kind, state, strings.Join(s.Names, ","), until})
	}
	return rows, out, nil
}

func firstCertificate(text []byte) *x509.Certificate {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}
