package main

import (
	"regexp"
	"strings"
)

// suite is how the name of every spec begins that concerns the network.
const suite = `\[sig-network\]`

// rule gives specs by their name, and why they are treated apart.
type rule struct {
	specs  string // a regular expression
	reason string
}

// leftOut are specs that are not run, because what they try is not weft's to do, or cannot be done in a lab that has neither a cloud nor a way
// out. The first rule that matches counts. Specs that look at the cluster and skip themselves need no line here: they say why.
var leftOut = []rule{
	{`\[Feature:NetworkPolicy\]|NetworkPolicy API`, "NetworkPolicy belongs to the network plugin, which weft is not and the lab's has not"},
	{`\[Feature:Networking-(IPv4|IPv6|DNS)\]`, "wants the Internet, to which the lab has no way"},
	{`\[Feature:SCTPConnectivity\]`, "wants SCTP in the nodes' kernel, which is this machine's and may have none"},
	{`\[Disruptive\]`, "logs in to a node by SSH to restart or break kube-proxy or the API server; weft's own end-to-end tests kill both"},
	{`DNS configMap nameserver`, "changes CoreDNS's ConfigMap, which weft does not have: what weft dns forwards to is a flag"},
	{`DNS should support configurable pod resolv\.conf`, "tries kubelet's dnsConfig with the CoreDNS binary inside agnhost's image, which is not built here"},
	{`\[Feature:PerformanceDNS\]`, "makes 10,000 Services and measures; weft's own benchmarks do"},
	{`\[Feature:Networking-Performance\]`, "measures the network plugin with iperf"},
	{`KubeProxy should set TCP CLOSE_WAIT timeout`, "tries a kernel setting that kube-proxy makes, with an image that is not built here"},
	{`\[Feature:KubeProxyNFAcct\]`, "reads a metric of kube-proxy's iptables mode"},
	{`should be rejected for evicted pods`, "wants a Pod evicted for its ephemeral storage, which the lab's kubelets do not measure"},
	{
		`switch session affinity for LoadBalancer service with Local traffic policy`,
		"wants a client without affinity to meet endpoints of several nodes at one address; one node answers for an address of weft's, " +
			"and with externalTrafficPolicy: Local only its own endpoints do",
	},
	{
		`should handle load balancer cleanup finalizer for service`,
		"wants the finalizer by which a cloud's controller cleans up outside the cluster; weft makes nothing there",
	},
	{`\[Feature:OffByDefault\]`, "wants a feature that this version of Kubernetes has off by default"},
	{`should check kube-proxy urls`, "asks kube-proxy's own port for its proxy mode"},
}

// known are specs that fail, and why. A spec that fails and is not here makes the command fail.
var known = []rule{
	{
		`ExternalTrafficPolicy: Local .* should work for type=LoadBalancer`,
		"takes any client address of the nodes' network for a node's, and the lab's client is in that network; the address it saw was the client's own",
	},
	{
		`should fallback to local terminating endpoints when there are no ready endpoints with externalTrafficPolicy=Local`,
		"wants a Pod of another node, which dials this node's port, to count as outside; weft, as kube-proxy with a cluster CIDR, takes every " +
			"Pod's address for inside, and carries it to any endpoint",
	},
}

// reasonIn gives the reason of the first rule that matches a spec.
func reasonIn(rules []rule, spec string) (string, bool) {
	for _, r := range rules {
		if regexp.MustCompile(r.specs).MatchString(spec) {
			return r.reason, true
		}
	}
	return "", false
}

// isConformance tells whether a spec is one that every Kubernetes must pass.
func isConformance(spec string) bool { return strings.Contains(spec, "[Conformance]") }
