package hcm

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/proxy/stats"
)

// Who says nothing of himself is who runs at his address, if somebody knows that; his certificate stands above it.
func TestPeersByAddress(t *testing.T) {
	r := stats.New(stats.Workload{Name: "db", Namespace: "shop"})
	m := NewMetrics(r, func() string { return "spiffe://cluster.local/ns/shop/sa/db" })
	m.WorkloadAt = func(ip netip.Addr) stats.Workload {
		if ip == netip.MustParseAddr("10.0.0.7") {
			return stats.Workload{Name: "orders", Namespace: "stale", CanonicalService: "orders"}
		}
		return stats.Workload{}
	}
	m.Inbound(nil, netip.MustParseAddr("::ffff:10.0.0.7"), "spiffe://cluster.local/ns/shop/sa/orders").Opened(0)
	m.Inbound(nil, netip.MustParseAddr("10.0.0.8"), "").Opened(0)
	var b strings.Builder
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`istio_tcp_connections_opened_total{reporter="destination",source_workload="orders",source_workload_namespace="shop",source_principal="spiffe://cluster.local/ns/shop/sa/orders"`,
		`destination_principal="spiffe://cluster.local/ns/shop/sa/db"`, `connection_security_policy="mutual_tls"`,
		`istio_tcp_connections_opened_total{reporter="destination",source_workload="unknown",source_workload_namespace="unknown",source_principal="unknown"`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}
