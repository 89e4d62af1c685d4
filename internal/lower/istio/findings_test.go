package istio

import (
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/model"
)

// What is wrong with an HTTP rule is told with object, field and code; the rule before it and the one behind it live on.
func TestFindingsOfRules(t *testing.T) {
	const to = "\n    route: [{destination: {host: web}}]"
	long := strings.Repeat("a", maxRegexBytes+1)
	for _, c := range []struct {
		name, rule string
		left       int // of its matches; -1 is that the rule is left out
		broken     bool
		found      []string // "severity field (code)"
	}{
		{"nothing to do", "name: x", 0, true, []string{"error spec.http[1] (missing-field)"}},
		{"two things to do", "redirect: {uri: /x}\n    directResponse: {status: 200}\n    rewrite: {uri: /}\n    fault: {delay: {fixedDelay: 1s}}" + to, 0, false, []string{
			"error spec.http[1].directResponse (conflicting-fields)", "error spec.http[1].fault (conflicting-fields)",
			"error spec.http[1].rewrite (conflicting-fields)", "error spec.http[1].route (conflicting-fields)"}},
		{"an answer and more", "directResponse: {status: 200}\n    rewrite: {uri: /}\n    fault: {delay: {fixedDelay: 1s}}" + to, 0, false, []string{
			"error spec.http[1].fault (conflicting-fields)", "error spec.http[1].rewrite (conflicting-fields)", "error spec.http[1].route (conflicting-fields)"}},
		{"a regular expression that is none", "match: [{uri: {regex: '['}}, {uri: {prefix: /}}]" + to, 1, false, []string{"error spec.http[1].match[0].uri.regex (invalid-regex)"}},
		{"no match left", "match: [{uri: {regex: '('}}]" + to, -1, false, []string{"error spec.http[1].match[0].uri.regex (invalid-regex)"}},
		{"regular expressions too long and too short", "match: [{uri: {regex: " + long + "}}, {method: {regex: ''}}, {}]" + to, 1, false, []string{
			"error spec.http[1].match[0].uri.regex (invalid-regex)", "error spec.http[1].match[1].method.regex (invalid-regex)"}},
		{"an empty prefix", "match: [{headers: {a: {prefix: ''}}}]" + to, -1, false, []string{"error spec.http[1].match[0].headers[a].prefix (invalid-match)"}},
		{"names of headers", "match: [{headers: {'a b': {exact: x}}}, {withoutHeaders: {'': {exact: x}}}, {headers: {'@request.auth.claims.sub': {exact: x}}}]" + to, -1, false, []string{
			"error spec.http[1].match[0].headers[a b] (invalid-header)", "error spec.http[1].match[1].withoutHeaders[] (invalid-header)",
			"error spec.http[1].match[2].headers[@request.auth.claims.sub] (unsupported)"}},
		{"other conditions", "match: [{port: 70000}, {sourceNamespace: A_B}, {sourceLabels: {'a/b/c': d}}, {gateways: [public], sourceNamespace: a}, {gateways: [more]}, {gateways: [a/b/c]}, {statPrefix: x}]" + to, 4, false, []string{
			"error spec.http[1].match[0].port (invalid-port)", "error spec.http[1].match[1].sourceNamespace (invalid-match)",
			"error spec.http[1].match[2].sourceLabels[a/b/c] (invalid-selector)", "error spec.http[1].match[5].gateways[0] (invalid-gateway)",
			"warning spec.http[1].match[3] (no-effect)", "warning spec.http[1].match[4].gateways[0] (no-effect)",
			"warning spec.http[1].match[5].gateways[0] (no-effect)", "warning spec.http[1].match[6].statPrefix (unsupported)"}},
		{"no destination", "route: [{weight: 1}]", 0, false, []string{"error spec.http[1].route[0].destination (missing-field)"}},
		{"destinations", "route: [{destination: {host: ''}, weight: 1}, {destination: {host: '*'}, weight: 1}, {destination: {host: a, subset: A_B}, weight: 1}, {destination: {host: a, port: {number: 0}}, weight: 1}]", 0, false, []string{
			"error spec.http[1].route[0].destination.host (missing-field)", "error spec.http[1].route[1].destination.host (invalid-host)",
			"error spec.http[1].route[2].destination.subset (invalid-name)", "error spec.http[1].route[3].destination.port.number (invalid-port)"}},
		{"weights of nothing", "route: [{destination: {host: a}}, {destination: {host: b}}]", 0, true, []string{"error spec.http[1].route (invalid-weight)"}},
		{"negative weights", "route: [{destination: {host: a}, weight: -5}, {destination: {host: b}, weight: 5}]", 0, false, []string{"error spec.http[1].route[0].weight (invalid-weight)"}},
		{"weights beyond counting", "route: [{destination: {host: a}, weight: 2147483647}, {destination: {host: b}, weight: 2147483647}, {destination: {host: c}, weight: 2}]", 0, true,
			[]string{"error spec.http[1].route (invalid-weight)"}},
		{"a redirect to nowhere", "redirect: {}", 0, true, []string{"error spec.http[1].redirect (missing-field)"}},
		{"a redirect by another code", "redirect: {uri: /, redirectCode: 304}", 0, true, []string{"error spec.http[1].redirect.redirectCode (invalid-status)"}},
		{"a redirect to another scheme", "redirect: {scheme: ftp}", 0, true, []string{"error spec.http[1].redirect.scheme (invalid-value)"}},
		{"a redirect to a port that is none", "redirect: {port: 99999}", 0, true, []string{"error spec.http[1].redirect.port (invalid-port)"}},
		{"a redirect of a prefix, by another match", "match: [{uri: {exact: /a}}]\n    redirect: {prefixRewrite: /b}", 1, true, []string{"error spec.http[1].redirect.prefixRewrite (conflicting-fields)"}},
		{"a redirect to two paths", "redirect: {prefixRewrite: /b, uri: /c}", 0, false, []string{"error spec.http[1].redirect.uri (conflicting-fields)"}},
		{"a status that is none", "directResponse: {status: 99}", 0, true, []string{"error spec.http[1].directResponse.status (invalid-status)"}},
		{"an answer too long", "directResponse: {status: 200, body: {string: " + strings.Repeat("a", maxBodyBytes+1) + "}}", 0, true, []string{"error spec.http[1].directResponse.body (invalid-value)"}},
		{"a rewrite of nothing", "rewrite: {}" + to, 0, false, []string{"error spec.http[1].rewrite (missing-field)"}},
		{"two rewrites", "rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}" + to, 0, false, []string{"error spec.http[1].rewrite.uri (conflicting-fields)"}},
		{"a rewrite by nothing", "rewrite: {uriRegexRewrite: {match: a}}" + to, 0, true, []string{"error spec.http[1].rewrite.uriRegexRewrite.rewrite (missing-field)"}},
		{"a rewrite by a regular expression that is none", "rewrite: {uriRegexRewrite: {match: '*', rewrite: b}}" + to, 0, true, []string{"error spec.http[1].rewrite.uriRegexRewrite.match (invalid-regex)"}},
		{"two authorities", "rewrite: {authority: a}\n    headers: {request: {set: {host: b}, add: {':authority': c}}}" + to, 0, false, []string{
			"warning spec.http[1].headers.request.add[:authority] (conflicting-fields)", "warning spec.http[1].rewrite.authority (conflicting-fields)"}},
		{"an authority for one of several", "route: [{destination: {host: a}, weight: 1, headers: {request: {set: {host: b}}}}, {destination: {host: b}, weight: 1}]", 0, false,
			[]string{"warning spec.http[1].route[0].headers.request (unsupported)"}},
		{"times", "timeout: 0.0001s\n    retries: {attempts: 1, perTryTimeout: -1s, backoff: 1.0001s}" + to, 0, false, []string{
			"error spec.http[1].retries.backoff (invalid-duration)", "error spec.http[1].retries.perTryTimeout (invalid-duration)", "error spec.http[1].timeout (invalid-duration)"}},
		{"retries", "retries: {attempts: -1}" + to, 0, false, []string{"error spec.http[1].retries.attempts (invalid-value)"}},
		{"conditions of no retries", "retries: {attempts: 0, retryOn: 5xx}" + to, 0, false, []string{"warning spec.http[1].retries (no-effect)"}},
		{"conditions of retries", "retries: {attempts: 1, retryOn: '5xx,sometimes,999'}" + to, 0, false, []string{
			"error spec.http[1].retries.retryOn (invalid-value)", "error spec.http[1].retries.retryOn (invalid-value)"}},
		{"retries elsewhere", "retries: {attempts: 1, retryRemoteLocalities: true}" + to, 0, false, []string{"warning spec.http[1].retries.retryRemoteLocalities (unsupported)"}},
		{"faults of nothing", "fault: {}" + to, 0, false, []string{"error spec.http[1].fault (missing-field)"}},
		{"faults", "fault: {delay: {percentage: {value: 101}, fixedDelay: 1s}, abort: {httpStatus: 99}}" + to, 0, false, []string{
			"error spec.http[1].fault.abort.httpStatus (invalid-status)", "error spec.http[1].fault.delay.percentage (invalid-percentage)"}},
		{"more faults", "fault: {delay: {exponentialDelay: 1s}, abort: {grpcStatus: WHATEVER}}" + to, 0, false, []string{
			"error spec.http[1].fault.abort.grpcStatus (invalid-status)", "error spec.http[1].fault.delay.exponentialDelay (unsupported)"}},
		{"faults of other kinds", "fault: {delay: {}, abort: {http2Error: x}}" + to, 0, false, []string{
			"error spec.http[1].fault.abort.http2Error (unsupported)", "error spec.http[1].fault.delay.fixedDelay (missing-field)"}},
		{"an abort of no kind", "fault: {abort: {percentage: {value: 1}}}" + to, 0, false, []string{"error spec.http[1].fault.abort (missing-field)"}},
		{"mirrors", "mirror: {host: '*'}\n    mirrors: [{destination: {host: a}}]" + to, 0, false, []string{
			"error spec.http[1].mirror.host (invalid-host)", "error spec.http[1].mirrors (conflicting-fields)"}},
		{"shares of mirrors", "mirrors: [{destination: {host: a}, percentage: {value: -1}}, {percentage: {value: 1}}]" + to, 0, false, []string{
			"error spec.http[1].mirrors[0].percentage (invalid-percentage)", "error spec.http[1].mirrors[1].destination (missing-field)"}},
		{"headers", "headers: {request: {set: {':path': a, 'a b': c, x: '%'}, add: {q: '%(%'}, remove: [host, '']}, response: {set: {host: a, z: \"a\\nb\"}}}" + to, 0, false, []string{
			"error spec.http[1].headers.request.add[q] (invalid-header)", "error spec.http[1].headers.request.remove[0] (invalid-header)",
			"error spec.http[1].headers.request.remove[1] (invalid-header)", "error spec.http[1].headers.request.set[:path] (invalid-header)",
			"error spec.http[1].headers.request.set[a b] (invalid-header)", "error spec.http[1].headers.request.set[x] (invalid-header)",
			"error spec.http[1].headers.response.set[host] (invalid-header)", "error spec.http[1].headers.response.set[z] (invalid-header)"}},
		{"CORS", "corsPolicy: {allowOrigins: [{}, {exact: ''}, {regex: '['}], allowMethods: [FETCH], allowHeaders: ['a b'], exposeHeaders: [''], maxAge: 1.5s}" + to, 0, false, []string{
			"error spec.http[1].corsPolicy.allowHeaders[0] (invalid-value)", "error spec.http[1].corsPolicy.allowMethods[0] (invalid-value)",
			"error spec.http[1].corsPolicy.allowOrigins[0] (invalid-match)", "error spec.http[1].corsPolicy.allowOrigins[1] (invalid-match)",
			"error spec.http[1].corsPolicy.allowOrigins[2].regex (invalid-regex)", "error spec.http[1].corsPolicy.exposeHeaders[0] (invalid-value)",
			"error spec.http[1].corsPolicy.maxAge (invalid-duration)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(virtualService("\n  - name: before" + to + "\n  - " + c.rule + "\n  - name: behind" + to))
			wantEqual(t, c.found, w.brief("VirtualService shop/web "))
			rules := w.routes("web").HTTP
			if first, last := rules[0], rules[len(rules)-1]; first.Name != "before" || last.Name != "behind" || len(first.To)*len(last.To) != 1 {
				t.Fatalf("the neighbours suffer: %+v", rules)
			}
			if c.left < 0 {
				if len(rules) != 2 {
					t.Fatalf("the rule is not left out: %+v", rules[1])
				}
				return
			}
			r := rules[1]
			if len(rules) != 3 || len(r.Matches) != c.left || c.broken != (len(r.To) == 0 && r.Redirect == nil && r.Respond == nil) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// brief gives findings as "severity field (code)", those of one object, which is all there should be.
func (w *world) brief(object string) (out []string) {
	w.t.Helper()
	for _, f := range w.db.AllFindings() {
		if f.Object.String()+" " != object {
			w.t.Errorf("%v", f)
			continue
		}
		if !strings.Contains(f.Message, " ") || strings.Contains(f.Message, "%!") {
			w.t.Errorf("a message that says nothing: %v", f)
		}
		out = append(out, f.Severity.String()+" "+f.Field+" ("+f.Code+")")
	}
	return out
}

func TestFindingsOfOtherObjects(t *testing.T) {
	const gw = "kind: Gateway\nmetadata: {namespace: shop, name: x}\nspec: "
	const https = gw + "{servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: "
	const vservice = "kind: VirtualService\nmetadata: {namespace: shop, name: x}\nspec: "
	const dr = "kind: DestinationRule\nmetadata: {namespace: shop, name: x}\nspec: "
	const lb = dr + "{host: a, trafficPolicy: {loadBalancer: "
	const pool = dr + "{host: a, trafficPolicy: {connectionPool: "
	const se = "kind: ServiceEntry\nmetadata: {namespace: shop, name: x}\nspec: "
	const we = "kind: WorkloadEntry\nmetadata: {namespace: shop, name: x}\nspec: "
	for _, c := range []struct {
		name, object string
		lives        bool // something is left of it
		found        []string
	}{
		{"a Gateway without servers", gw + "{}", false, []string{"error spec.servers (missing-field)"}},
		{"a Gateway's selector", gw + "{selector: {a: 'b c'}}", false, []string{"error spec.selector[a] (invalid-selector)"}},
		{"servers without port, hosts, protocol", gw + "{servers: [{hosts: ['*']}, {port: {number: 80, name: a, protocol: HTTP}}, {port: {number: 0, name: a, protocol: HTTP}, hosts: ['*']}, {port: {number: 80, name: a, protocol: UDP}, hosts: ['*']}]}", false, []string{
			"error spec.servers[0].port (missing-field)", "error spec.servers[1].hosts (missing-field)", "error spec.servers[2].port.number (invalid-port)", "error spec.servers[3].port.protocol (invalid-protocol)"}},
		{"hosts of servers", gw + "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['short', '~/a.b', 'A B/a.b', 'x/*a.b', './a.b', './A.B.', '*/::1']}]}", true, []string{
			"error spec.servers[0].hosts[0] (invalid-host)", "error spec.servers[0].hosts[1] (invalid-host)", "error spec.servers[0].hosts[2] (invalid-host)", "error spec.servers[0].hosts[3] (invalid-host)",
			"warning spec.servers[0].hosts[5] (doubled)"}},
		{"names of ports", gw + "{servers: [{port: {number: 80, protocol: HTTP}, hosts: ['*']}, {port: {number: 81, name: a, protocol: HTTP}, hosts: ['*']}, {port: {number: 82, name: a, protocol: HTTP, targetPort: 7}, hosts: ['*']}]}", true, []string{
			"warning spec.servers[0].port.name (missing-field)", "warning spec.servers[2].port.name (doubled)", "warning spec.servers[2].port.targetPort (no-effect)"}},
		{"bind", gw + "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], bind: 127.0.0.1}, {port: {number: 81, name: b, protocol: HTTP}, hosts: ['*'], bind: 0.0.0.0, defaultEndpoint: x}]}", true, []string{
			"error spec.servers[0].bind (unsupported)", "warning spec.servers[1].defaultEndpoint (unsupported)"}},
		{"TLS where there is none", gw + "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: x}}, {port: {number: 81, name: b, protocol: TCP}, hosts: ['*'], tls: {}}, {port: {number: 82, name: c, protocol: GRPC}, hosts: ['*'], tls: {httpsRedirect: true, credentialName: x}}]}", true, []string{
			"error spec.servers[0].tls (conflicting-fields)", "error spec.servers[1].tls (conflicting-fields)", "warning spec.servers[2].tls (no-effect)"}},
		{"no TLS where there is some", gw + "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*']}]}", false, []string{"error spec.servers[0].tls (missing-field)"}},
		{"modes that are not supported", https + "AUTO_PASSTHROUGH}}, {port: {number: 444, name: b, protocol: TLS}, hosts: ['*'], tls: {mode: ISTIO_MUTUAL}}]}", false, []string{
			"error spec.servers[0].tls.mode (unsupported)", "error spec.servers[1].tls.mode (unsupported)"}},
		{"no credential", https + "SIMPLE}}]}", false, []string{"error spec.servers[0].tls.credentialName (missing-field)"}},
		{"a credential that is none", https + "SIMPLE, credentialName: 'configmap://a'}}]}", false, []string{"error spec.servers[0].tls.credentialName (invalid-name)"}},
		{"credentials twice, and in files", https + "SIMPLE, credentialName: a, credentialNames: [b], serverCertificate: /x, httpsRedirect: true}}]}", true, []string{
			"error spec.servers[0].tls (unsupported)", "error spec.servers[0].tls.credentialNames (conflicting-fields)", "warning spec.servers[0].tls.httpsRedirect (no-effect)"}},
		{"certificates for what is passed through", https + "PASSTHROUGH, credentialName: a}}]}", true, []string{"warning spec.servers[0].tls (no-effect)"}},
		{"clients that would be let in", https + "MUTUAL, credentialName: a, caCrl: x, verifyCertificateSpki: [x], verifyCertificateHash: [x]}}]}", false, []string{
			"error spec.servers[0].tls.caCrl (unsupported)", "error spec.servers[0].tls.verifyCertificateHash (unsupported)", "error spec.servers[0].tls.verifyCertificateSpki (unsupported)"}},
		{"CAs in a Secret that is none", https + "MUTUAL, credentialName: a, caCertCredentialName: 'a b'}}]}", false, []string{"error spec.servers[0].tls.caCertCredentialName (invalid-name)"}},
		{"clients that are not verified", https + "OPTIONAL_MUTUAL, credentialName: a, insecureSkipVerify: true}}]}", true, []string{"warning spec.servers[0].tls.insecureSkipVerify (unsupported)"}},
		{"versions and ciphers", https + "SIMPLE, credentialName: a, minProtocolVersion: TLSV1_0, cipherSuites: [RC4, RC4]}}, {port: {number: 444, name: b, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: a, maxProtocolVersion: TLSV1_1}}]}", true, []string{
			"error spec.servers[1].tls.maxProtocolVersion (invalid-tls)", "warning spec.servers[0].tls.cipherSuites[0] (invalid-value)",
			"warning spec.servers[0].tls.cipherSuites[1] (invalid-value)", "warning spec.servers[0].tls.minProtocolVersion (invalid-tls)"}},
		{"a cipher twice", https + "SIMPLE, credentialName: a, cipherSuites: [AES128-SHA, AES128-SHA]}}]}", true, []string{"warning spec.servers[0].tls.cipherSuites[1] (doubled)"}},

		{"a VirtualService of nothing", vservice + "{hosts: [a]}", true, []string{"error spec (missing-field)"}},
		{"a VirtualService of no host", vservice + "{hosts: ['a b'], tcp: [{route: [{destination: {host: a}}]}]}", false, []string{"error spec.hosts[0] (invalid-host)"}},
		{"TLS routes", vservice + "{hosts: [a.b], tls: [{route: [{destination: {host: a}}]}, {match: [{}]}, {match: [{sniHosts: [c.d, 'a b']}]}, {match: [{sniHosts: [a.b], destinationSubnets: [10.0.0.0/8]}]}, {match: [{sniHosts: [a.b]}]}]}", true, []string{
			"error spec.tls[0].match (missing-field)", "error spec.tls[1].match[0].sniHosts (missing-field)", "error spec.tls[2].match[0].sniHosts[0] (invalid-host)",
			"error spec.tls[2].match[0].sniHosts[1] (invalid-host)", "error spec.tls[3].route (missing-field)", "error spec.tls[4].route (missing-field)"}},
		{"subnets", vservice + "{hosts: [a.b], tcp: [{match: [{destinationSubnets: [10.0.0.0/33]}, {destinationSubnets: ['::ffff:10.0.0.0/104']}, {destinationSubnets: [10.0.0.1, 'fd00::/8']}], route: [{destination: {host: a}}]}]}", true, []string{
			"error spec.tcp[0].match[0].destinationSubnets[0] (invalid-address)", "error spec.tcp[0].match[1].destinationSubnets[0] (invalid-address)"}},
		{"subnets at a gateway", vservice + "{hosts: [a.b], gateways: [mesh, public], tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: a}}]}]}", true, []string{
			"warning spec.gateways[1] (missing-gateway)", "warning spec.tcp[0].match[0].destinationSubnets (unsupported)"}},
		{"subnets at gateways only", vservice + "{hosts: [a.b], gateways: [public], tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: a}}]}]}", true, []string{
			"error spec.tcp[0].match[0].destinationSubnets (unsupported)", "warning spec.gateways[0] (missing-gateway)"}},
		{"TCP routes", vservice + "{hosts: [a.b], tcp: [{match: [{port: 70000, sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: a}}]}, {route: [{destination: {host: a}}, {destination: {host: b}, weight: -1}]}, {route: [{}]}]}", true, []string{
			"error spec.tcp[0].match[0].port (invalid-port)", "error spec.tcp[0].match[0].sourceSubnet (unsupported)", "error spec.tcp[1].route (invalid-weight)",
			"error spec.tcp[1].route[1].weight (invalid-weight)", "error spec.tcp[2].route[0].destination (missing-field)"}},

		{"a DestinationRule for nobody", dr + "{}", false, []string{"error spec.host (missing-field)"}},
		{"a DestinationRule for what is no host", dr + "{host: 'a_b'}", false, []string{"error spec.host (invalid-host)"}},
		{"clients that cannot be", dr + "{host: a, workloadSelector: {matchLabels: {'': b}}}", false, []string{"error spec.workloadSelector.matchLabels[] (invalid-selector)"}},
		{"all clients", dr + "{host: a, workloadSelector: {}}", true, []string{"warning spec.workloadSelector (no-effect)"}},
		{"subsets", dr + "{host: a, subsets: [{name: a}, {name: a}, {name: A}, {name: b, labels: {x: 'y z'}}, {name: c, trafficPolicy: {}}]}", true, []string{
			"error spec.subsets[1].name (doubled-subset)", "error spec.subsets[2].name (invalid-name)", "error spec.subsets[3].labels[x] (invalid-selector)", "warning spec.subsets[4].trafficPolicy (no-effect)"}},
		{"settings of ports", dr + "{host: a, trafficPolicy: {portLevelSettings: [{tls: {}}, {port: {number: 0}}, {port: {number: 80}, tls: {}}, {port: {number: 80}, tls: {}}], tunnel: {targetHost: a}, retryBudget: {}}}", true, []string{
			"error spec.trafficPolicy.portLevelSettings[0].port (missing-field)", "error spec.trafficPolicy.portLevelSettings[1].port.number (invalid-port)",
			"error spec.trafficPolicy.portLevelSettings[3].port.number (doubled)", "error spec.trafficPolicy.tunnel (unsupported)", "warning spec.trafficPolicy.retryBudget (unsupported)"}},
		{"the PROXY protocol", dr + "{host: a, trafficPolicy: {proxyProtocol: {version: 7}}, subsets: [{name: a, trafficPolicy: {proxyProtocol: {}, tunnel: {}}}]}", true, []string{
			"error spec.subsets[0].trafficPolicy.proxyProtocol (conflicting-fields)", "error spec.subsets[0].trafficPolicy.tunnel (unsupported)", "error spec.trafficPolicy.proxyProtocol.version (invalid-value)"}},
		{"hashing nothing", lb + "{consistentHash: {minimumRingSize: 7, ringHash: {}}}}}", true, []string{
			"error spec.trafficPolicy.loadBalancer.consistentHash (missing-field)", "error spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize (conflicting-fields)"}},
		{"hashing into a table that is no prime", lb + "{consistentHash: {useSourceIp: true, maglev: {tableSize: 1000}}}}}", true, []string{"error spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize (invalid-value)"}},
		{"hashing a header", lb + "{consistentHash: {httpHeaderName: 'a b'}}}}", true, []string{"error spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName (invalid-header)"}},
		{"hashing a cookie", lb + "{consistentHash: {httpCookie: {name: ''}}}}}", true, []string{"error spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name (invalid-name)"}},
		{"a cookie's life", lb + "{consistentHash: {httpCookie: {name: a, ttl: -1s, attributes: [{name: b}]}}}}}", true, []string{
			"error spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.ttl (invalid-duration)", "warning spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes (unsupported)"}},
		{"warming up", lb + "{warmup: {minimumPercent: 5, aggression: 1}, zoneAwareLbSetting: {}}}}", true, []string{
			"error spec.trafficPolicy.loadBalancer.warmup.duration (missing-field)", "warning spec.trafficPolicy.loadBalancer.zoneAwareLbSetting (unsupported)"}},
		{"warming up in a way", lb + "{warmup: {duration: 1s, minimumPercent: 5, aggression: 1}}}}", true, []string{
			"warning spec.trafficPolicy.loadBalancer.warmup.aggression (unsupported)", "warning spec.trafficPolicy.loadBalancer.warmup.minimumPercent (unsupported)"}},
		{"localities", lb + "{localityLbSetting: {enabled: true, distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/zone]}}}}", true, []string{
			"warning spec.trafficPolicy.loadBalancer.localityLbSetting.distribute (unsupported)", "warning spec.trafficPolicy.loadBalancer.localityLbSetting.enabled (unsupported)",
			"warning spec.trafficPolicy.loadBalancer.localityLbSetting.failover (unsupported)", "warning spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority (unsupported)"}},
		{"numbers of connections", pool + "{tcp: {maxConnections: -1, connectTimeout: 1us, maxConnectionDuration: 0s, idleTimeout: 0s, tcpKeepalive: {time: -1s}}, http: {http1MaxPendingRequests: -1, http2MaxRequests: -1, maxRequestsPerConnection: -1, maxRetries: -1}}}}", true, []string{
			"error spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests (invalid-value)", "error spec.trafficPolicy.connectionPool.http.http2MaxRequests (invalid-value)",
			"error spec.trafficPolicy.connectionPool.http.maxRequestsPerConnection (invalid-value)", "error spec.trafficPolicy.connectionPool.http.maxRetries (invalid-value)",
			"error spec.trafficPolicy.connectionPool.tcp.connectTimeout (invalid-duration)", "error spec.trafficPolicy.connectionPool.tcp.maxConnectionDuration (invalid-duration)",
			"error spec.trafficPolicy.connectionPool.tcp.maxConnections (invalid-value)", "error spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.time (invalid-duration)",
			"warning spec.trafficPolicy.connectionPool.tcp.idleTimeout (unsupported)"}},
		{"versions of HTTP", pool + "{http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true, maxConcurrentStreams: 1, http2KeepAlive: {}}}}}", true, []string{
			"error spec.trafficPolicy.connectionPool.http.useClientProtocol (conflicting-fields)", "warning spec.trafficPolicy.connectionPool.http.http2KeepAlive (unsupported)",
			"warning spec.trafficPolicy.connectionPool.http.maxConcurrentStreams (unsupported)"}},
		{"outliers", dr + "{host: a, trafficPolicy: {outlierDetection: {consecutiveErrors: 1, consecutiveLocalOriginFailures: 1, interval: 1ns, baseEjectionTime: 1ns, maxEjectionPercent: 101, minHealthPercent: -1, outlierDetectionHttpErrorCodes: [418]}}}", true, []string{
			"error spec.trafficPolicy.outlierDetection.baseEjectionTime (invalid-duration)", "error spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures (conflicting-fields)",
			"error spec.trafficPolicy.outlierDetection.interval (invalid-duration)", "error spec.trafficPolicy.outlierDetection.maxEjectionPercent (invalid-percentage)",
			"error spec.trafficPolicy.outlierDetection.minHealthPercent (invalid-percentage)", "warning spec.trafficPolicy.outlierDetection.consecutiveErrors (no-effect)",
			"warning spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes (unsupported)"}},
		{"files for TLS", dr + "{host: a, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /a, insecureSkipVerify: true, subjectAltNames: [a]}}}", true, []string{
			"error spec.trafficPolicy.tls (unsupported)", "error spec.trafficPolicy.tls.credentialName (missing-field)", "error spec.trafficPolicy.tls.insecureSkipVerify (conflicting-fields)"}},
		{"files and a credential", dr + "{host: a, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /a, credentialName: b}}}", true, []string{
			"error spec.trafficPolicy.tls (conflicting-fields)", "warning spec.trafficPolicy.tls.credentialName (unsupported)"}},

		{"a ServiceEntry of nothing", se + "{resolution: STATIC}", false, []string{"error spec.hosts (missing-field)"}},
		{"a ServiceEntry of everything", se + "{resolution: DNS, hosts: ['*', a..b]}", false, []string{"error spec.hosts[0] (invalid-host)", "error spec.hosts[1] (invalid-host)"}},
		{"a ServiceEntry found in a way that is not supported", se + "{resolution: DYNAMIC_DNS, hosts: ['*.a.example']}", false, []string{"error spec.resolution (unsupported)"}},
		{"addresses and ports", se + "{resolution: STATIC, hosts: [a.example, A.example], addresses: [nonsense, 10.0.0.1], ports: [{number: 0, name: a}, {number: 80, name: A_B}, {number: 80, name: c, protocol: QUIC}, {number: 80, name: d, targetPort: 70000}, {number: 80, name: e}]}", true, []string{
			"error spec.addresses[0] (invalid-address)", "error spec.ports[0].number (invalid-port)", "error spec.ports[1].name (invalid-name)", "error spec.ports[2].protocol (invalid-protocol)",
			"error spec.ports[3].targetPort (invalid-port)", "error spec.ports[4] (doubled)", "warning spec.hosts[1] (doubled)"}},
		{"endpoints", se + "{resolution: STATIC, hosts: [a.example], endpoints: [{}, {address: b.example}, {address: 'unix:///x'}, {address: 0.0.0.0}, {address: 10.0.0.1, ports: {a: 70000}, labels: {'a b': c}}, {address: 10.0.0.2, ports: {a: 70000}}]}", true, []string{
			"error spec.endpoints[0].address (missing-field)", "error spec.endpoints[1].address (invalid-address)", "error spec.endpoints[2].address (unsupported)",
			"error spec.endpoints[3].address (invalid-address)", "error spec.endpoints[4].labels[a b] (invalid-selector)", "error spec.endpoints[5].ports[a] (invalid-port)"}},
		{"endpoints that are not wanted", se + "{hosts: [a.example], endpoints: [{address: 10.0.0.1}]}", true, []string{"error spec.endpoints (conflicting-fields)"}},
		{"endpoints declared and selected", se + "{resolution: STATIC, hosts: [a.example], endpoints: [{address: 10.0.0.1}], workloadSelector: {}}", true, []string{
			"error spec.endpoints (conflicting-fields)", "warning spec.workloadSelector (no-effect)"}},
		{"where endpoints are", se + "{resolution: STATIC, hosts: [a.example], endpoints: [{address: 10.0.0.1, locality: a/b/c, network: other}]}", true, []string{
			"warning spec.endpoints[0].locality (unsupported)", "warning spec.endpoints[0].network (unsupported)"}},
		{"where a WorkloadEntry is", we + "{address: 10.0.0.1, locality: a/b/c, network: other}", true, []string{"warning spec.locality (unsupported)", "warning spec.network (unsupported)"}},
		{"a WorkloadEntry nowhere", we + "{weight: 1}", false, []string{"error spec.address (missing-field)"}},
		{"a WorkloadEntry at what is no address", we + "{address: 'a b'}", false, []string{"error spec.address (invalid-address)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(c.object)
			kind := strings.TrimPrefix(strings.SplitN(c.object, "\n", 2)[0], "kind: ")
			wantEqual(t, c.found, w.brief(kind+" shop/x "))
			var lives bool
			switch k := shop("x"); kind {
			case "Gateway":
				lives = w.lowered.Gateways.Read(k) != nil
			case "VirtualService":
				lives = w.lowered.RouteSets.Read(k) != nil
			case "DestinationRule":
				lives = w.lowered.Policies.Read(k) != nil
			case "ServiceEntry":
				lives = w.lowered.Entries.Read(k) != nil
			case "WorkloadEntry":
				lives = w.lowered.Workloads.Read(k) != nil
			}
			if lives != c.lives {
				t.Errorf("lives: %v", lives)
			}
		})
	}
}

// What is meant to be encrypted or refused is never served in plaintext or let in, whatever else is wrong.
func TestWhatCannotBeHonouredIsClosed(t *testing.T) {
	w := newWorld(t)
	w.apply("kind: DestinationRule\nmetadata: {namespace: shop, name: x}\nspec: {host: a, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /a, privateKey: /b}}}")
	wantEqual(t, &model.ClientTLS{Mode: model.TLSSimple}, w.lowered.Policies.Read(shop("x")).Policy.TLS)
}
