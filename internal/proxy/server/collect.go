package server

import (
	"slices"
	"strings"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/stats"
	"github.com/weftmesh/weft/internal/proxy/upstream"
	"github.com/weftmesh/weft/internal/proxy/xdsclient"
)

// collect adds what clusters count, under Envoy's names for Prometheus.
func (s *Server) collect(t *stats.Text) {
	all := s.clusters.Snapshot()
	type one struct {
		cluster string
		value   int64
	}
	byName := map[string][]one{}
	gauges := map[string]bool{}
	for _, c := range all {
		for _, st := range c.Stats {
			byName[st.Name] = append(byName[st.Name], one{c.Name, st.Value})
			gauges[st.Name] = st.Gauge
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		full := "envoy_cluster_" + strings.NewReplacer(".", "_").Replace(name)
		for _, v := range byName[name] {
			label := stats.Label{Name: "envoy_cluster_name", Value: v.cluster}
			if gauges[name] {
				t.Gauge(full, "", v.value, label)
			} else {
				t.Counter(full, "", uint64(max(0, v.value)), label)
			}
		}
	}
	t.Counter("weft_proxy_access_log_dropped_total", "Lines of access logs that found no room.", s.files.Dropped())
	t.Gauge("weft_proxy_listeners", "Listeners that are open.", int64(len(s.Listeners())))
}

// Clusters tells of all clusters, for admin.
func (s *Server) Clusters() []upstream.ClusterSnapshot { return s.clusters.Snapshot() }

// SetSecret puts a Secret in force that was made in this process: what resources name with an sds_config that is not ads. Connections keep what they
// were made with, new handshakes take it. If it is refused the one before stays. It may be called at any time, by anybody.
func (s *Server) SetSecret(m *tlsv3.Secret) error {
	resource, err := anypb.New(m)
	if err != nil {
		return err
	}
	if err := s.secrets.Update(m); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := Resource{xdsclient.SecretType, m.GetName(), resource, time.Now()}
	i := slices.IndexFunc(s.statics, func(r Resource) bool { return r.TypeURL == now.TypeURL && r.Name == now.Name })
	if i < 0 {
		s.statics = append(s.statics, now)
	} else {
		s.statics[i] = now
	}
	return nil
}

// Statics are the resources that did not come from an xDS server.
func (s *Server) Statics() []Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.statics)
}

// Draining tells whether Drain was called.
func (s *Server) Draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

func cmpString(a, b string) int { return strings.Compare(a, b) }
