package admin

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/internal/proxy/index"
)

// meshIndex shows what the proxy knows of the mesh: how much, who runs at an address and which Service that stands for, or which Service a Host is.
func (a *Admin) meshIndex(w http.ResponseWriter, r *http.Request) {
	x, q := a.options.Server.Index(), r.URL.Query()
	out := map[string]any{}
	services, workloads := x.Counts()
	out["services"], out["workloads"] = services, workloads
	port, _ := strconv.ParseUint(q.Get("port"), 10, 16)
	if text := q.Get("address"); text != "" {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			http.Error(w, "address: "+err.Error(), http.StatusBadRequest)
			return
		}
		if m := x.Workload(ip); m != nil {
			if b, err := protojson.Marshal(m); err == nil {
				out["workload"] = json.RawMessage(b)
			}
		}
		if s, _ := x.Destination(netip.AddrPortFrom(ip, uint16(port))); s != nil {
			out["service"] = shown(s)
		}
	}
	if host := q.Get("host"); host != "" {
		domain := q.Get("domain")
		if domain == "" {
			domain = "cluster.local"
		}
		if s := x.Host(host, uint16(port), index.Scope{Namespace: q.Get("namespace"), Domain: domain}); s != nil {
			out["service"] = shown(s)
		}
	}
	asJSON(w, out)
}

func shown(s *index.Service) map[string]any {
	ports := []map[string]any{}
	for _, p := range s.Ports {
		port := map[string]any{"number": p.Number, "protocol": p.Protocol.String(), "mesh_tls": p.MeshTLS}
		var rules []string
		for i := range p.Rules {
			rules = append(rules, p.Rules[i].String())
		}
		if len(rules) > 0 {
			port["rules"] = rules
		}
		ports = append(ports, port)
	}
	return map[string]any{"host": s.Host, "namespace": s.Namespace, "headless": s.Headless, "identities": s.Identities, "ports": ports}
}
