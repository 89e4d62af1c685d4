package house

import "strings"

// layer is a package of the project and what it may import of the others.
type layer struct {
	pkg  string // path inside the repository
	uses string // the packages it may import ("internal/" left out), each of which stands further up in the list
	apis bool   // may import Kubernetes' modules (k8s.io/..., sigs.k8s.io/...)
}

// layers is the direction of everything: a package may import only what stands above it here, and of that only what its line names. What is
// missing fails the test, so whoever adds a package decides here where it belongs; docs/architecture.md says what each is for.
//
// The rule behind it: declared objects are understood (kube, store, lower), become the model (model, compose), are compiled into plans and
// answers, and are carried. Nothing below compose knows which API something was written in, and nothing above it knows how it is carried.
var layers = []layer{
	{pkg: "internal/finding"},
	{pkg: "internal/regex"},
	{pkg: "internal/limit"},
	{pkg: "internal/model", uses: "finding"},

	// Objects, and functions over them that are remembered.
	{pkg: "internal/derive", uses: "finding"},
	{pkg: "internal/store", uses: "derive"},
	{pkg: "internal/kube", uses: "finding derive store", apis: true},

	// From each API to the model; then where they meet.
	{pkg: "internal/lower/service", uses: "finding model derive store", apis: true},
	{pkg: "internal/jwks", uses: "model derive store"},
	{pkg: "internal/lower/istio", uses: "finding regex model derive store jwks", apis: true},
	{pkg: "internal/lower/workload", uses: "finding model derive store", apis: true},
	{pkg: "internal/lower/ingress", uses: "finding model derive store", apis: true},
	{pkg: "internal/compose", uses: "finding model derive store lower/service"},

	// What every component serves.
	{pkg: "internal/admin", uses: "finding"},

	// The carriers: the node's Service proxy, addresses, DNS.
	{pkg: "internal/serviceproxy/plan", uses: "model"},
	{pkg: "internal/serviceproxy/conntrack", uses: "model serviceproxy/plan"},
	{pkg: "internal/serviceproxy/fake", uses: "model serviceproxy/plan"},
	{pkg: "internal/serviceproxy/behaviour", uses: "model serviceproxy/plan"},
	{pkg: "internal/serviceproxy/nftables", uses: "model serviceproxy/plan"},
	{pkg: "internal/serviceproxy", uses: "finding model derive store compose admin serviceproxy/plan serviceproxy/conntrack"},
	{pkg: "internal/address/announce", uses: "model"},
	{pkg: "internal/address", uses: "finding model derive store compose admin address/announce"},
	{pkg: "internal/address/duty", uses: "model derive store compose address address/announce"},
	{pkg: "internal/dns/wire"},
	{pkg: "internal/dns/zone", uses: "model derive store compose dns/wire"},
	{pkg: "internal/dns/forward", uses: "dns/wire"},
	{pkg: "internal/dns", uses: "finding model derive store compose admin dns/wire dns/zone dns/forward"},

	// How a Pod's connections come to its proxy.
	{pkg: "internal/redirect"},
	{pkg: "internal/redirect/command", uses: "redirect"},

	// What proxies are told.
	{pkg: "internal/proxy/meshpb"},
	{pkg: "internal/proxy/jwt"},
	{pkg: "internal/xds/resource", uses: "regex model proxy/meshpb proxy/jwt"},
	{pkg: "internal/xds", uses: "finding limit model derive store compose proxy/meshpb xds/resource"},

	// The L7 data plane. It imports nothing left of the xDS wire types.
	{pkg: "internal/proxy/message"},
	{pkg: "internal/proxy/field"},
	{pkg: "internal/proxy/footprint"},
	{pkg: "internal/proxy/socket"},
	{pkg: "internal/proxy/match", uses: "regex proxy/message proxy/field"},
	{pkg: "internal/proxy/format", uses: "proxy/message proxy/match"},
	{pkg: "internal/proxy/stats", uses: "proxy/message"},
	{pkg: "internal/proxy/peer", uses: "proxy/stats"},
	{pkg: "internal/proxy/trace", uses: "proxy/message proxy/field proxy/match proxy/stats"},
	{pkg: "internal/proxy/authz", uses: "proxy/message proxy/field proxy/match"},
	{pkg: "internal/proxy/filter", uses: "proxy/message proxy/stats"},
	{pkg: "internal/proxy/filter/cors", uses: "proxy/message proxy/field proxy/match proxy/filter"},
	{pkg: "internal/proxy/filter/fault", uses: "proxy/message proxy/field proxy/match proxy/filter"},
	{pkg: "internal/proxy/filter/rbac", uses: "proxy/message proxy/field proxy/stats proxy/authz proxy/filter"},
	{pkg: "internal/proxy/filter/jwtauthn", uses: "proxy/message proxy/field proxy/match proxy/stats proxy/jwt proxy/filter"},
	{pkg: "internal/proxy/filter/chain", uses: "proxy/message proxy/field proxy/filter proxy/filter/cors proxy/filter/fault proxy/filter/jwtauthn proxy/filter/rbac proxy/meshpb"},
	{pkg: "internal/proxy/route", uses: "proxy/message proxy/field proxy/match proxy/format proxy/filter proxy/filter/chain"},
	{pkg: "internal/proxy/http1", uses: "proxy/message"},
	{pkg: "internal/proxy/http1/transport", uses: "proxy/message proxy/http1 proxy/socket"},
	{pkg: "internal/proxy/tls", uses: "proxy/field proxy/match proxy/socket"},
	{pkg: "internal/proxy/http2", uses: "proxy/message"},
	{pkg: "internal/proxy/http2/transport", uses: "proxy/message proxy/http2 proxy/socket"},
	{pkg: "internal/proxy/upstream", uses: "proxy/message proxy/field proxy/http1/transport proxy/http2/transport proxy/tls"},
	{pkg: "internal/proxy/bootstrap", uses: "proxy/meshpb"},
	{pkg: "internal/proxy/uplink", uses: "proxy/bootstrap"},
	{pkg: "internal/proxy/xdsclient", uses: "proxy/bootstrap proxy/meshpb proxy/uplink"},
	{pkg: "internal/proxy/index", uses: "proxy/field proxy/meshpb"},
	{pkg: "internal/proxy/accesslog", uses: "proxy/field proxy/format proxy/message"},
	{pkg: "internal/proxy/detect", uses: "proxy/tls"},
	{pkg: "internal/proxy/listen", uses: "proxy/field proxy/socket proxy/stats proxy/tls proxy/detect"},
	{pkg: "internal/proxy/hcm", uses: "proxy/message proxy/field proxy/format proxy/filter proxy/filter/chain proxy/route proxy/upstream proxy/listen proxy/tls proxy/http1 proxy/http1/transport proxy/http2 proxy/http2/transport proxy/accesslog proxy/stats proxy/peer proxy/trace"},
	{pkg: "internal/proxy/tcp", uses: "proxy/message proxy/field proxy/format proxy/upstream proxy/listen proxy/accesslog proxy/stats"},
	{pkg: "internal/proxy/outbound", uses: "proxy/detect proxy/field proxy/hcm proxy/index proxy/listen proxy/meshpb proxy/route proxy/tcp proxy/upstream"},
	{pkg: "internal/proxy/server", uses: "proxy/message proxy/peer proxy/trace proxy/filter/rbac proxy/field proxy/filter proxy/format proxy/route proxy/upstream proxy/tls proxy/listen proxy/hcm proxy/tcp proxy/accesslog proxy/stats proxy/bootstrap proxy/xdsclient proxy/index proxy/outbound proxy/meshpb"},
	{pkg: "internal/proxy/admin", uses: "proxy/index proxy/upstream proxy/server proxy/stats proxy/bootstrap proxy/xdsclient"},
	{pkg: "internal/proxy", uses: "proxy/footprint proxy/peer proxy/server proxy/admin proxy/stats proxy/bootstrap proxy/xdsclient"},
	{pkg: "internal/proxy/istioca"},
	{pkg: "internal/proxy/agent/credential"},
	{pkg: "internal/proxy/agent/sds", uses: "proxy/agent/credential"},
	{pkg: "internal/proxy/agent/relay", uses: "proxy/bootstrap proxy/uplink"},
	{pkg: "internal/proxy/agent/probe"},
	{pkg: "internal/proxy/agent/envoy", uses: "proxy/stats"},
	{pkg: "internal/proxy/agent", uses: "proxy proxy/agent/envoy proxy/bootstrap proxy/istioca proxy/stats proxy/uplink proxy/agent/credential proxy/agent/probe proxy/agent/relay proxy/agent/sds"},
	{pkg: "internal/proxy/command", uses: "proxy proxy/bootstrap proxy/agent proxy/agent/probe"},

	// Who is who.
	{pkg: "internal/identity", uses: "limit proxy/istioca", apis: true},

	// What becomes of the Pods of a mesh.
	{pkg: "internal/inject", uses: "redirect", apis: true},
	{pkg: "internal/admission", uses: "finding inject", apis: true},

	// What is written back to objects, and the one who writes.
	{pkg: "internal/status", uses: "finding model", apis: true},
	{pkg: "internal/control", uses: "finding model derive store compose address status", apis: true},

	// What a person asks and installs.
	{pkg: "internal/convert", uses: "finding model derive store compose"},
	{pkg: "internal/explain", uses: "finding model derive store compose serviceproxy/plan"},
	{pkg: "internal/install", uses: "inject admission", apis: true},

	// The composition root and the program: they wire the rest, and everything may be wired.
	{pkg: "internal/cli", uses: everything, apis: true},
	{pkg: "cmd/weft", uses: "cli"},
	{pkg: "cmd/weft-proxy", uses: "proxy/command redirect/command"},

	// What people try weft with, and the tests' own view of a lab: they know weft only from outside.
	{pkg: "test/lab"},
	{pkg: "test/demo", uses: "test/lab"},
	{pkg: "test/h2spec", uses: "proxy/message proxy/http2/transport"},
	{pkg: "examples/echo"},
	{pkg: "examples/bookshop"},
	{pkg: "examples/demo", uses: "test/lab test/demo"},
}

// everything, as what a package uses, stands for all that is above it.
const everything = "*"

// allows tells whether l may import pkg, a path inside the repository. above is what precedes l in the list.
func (l layer) allows(pkg string, above map[string]bool) bool {
	if !above[pkg] {
		return false
	}
	if l.uses == everything {
		return true
	}
	for u := range strings.FieldsSeq(l.uses) {
		if u == pkg || "internal/"+u == pkg {
			return true
		}
	}
	return false
}
