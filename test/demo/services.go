package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/weftmesh/weft/test/lab"
)

// Services is the rows for examples/services, which must be applied to the namespace: what the Services' objects say now is asked first.
func Services(ctx context.Context, l *lab.Lab, namespace string) ([]Try, error) {
	addr := func(service, path string) ([]netip.Addr, error) {
		out, err := l.Kubectl(ctx, "get", "service", "-n", namespace, service, "-o", "jsonpath="+path)
		if err != nil {
			return nil, err
		}
		return addresses(out)
	}
	clusterIPs, err := addr("my-svc", "{.spec.clusterIPs}")
	if err != nil {
		return nil, err
	}
	lb, err := addr("my-loadbalancer", `{.status.loadBalancer.ingress[*].ip}`)
	if err != nil {
		return nil, err
	}
	client, fqdn := lab.Pod(namespace, "client"), "."+namespace+".svc.cluster.local."
	get := func(n string, host string, port string) []string {
		return []string{"echo", "get", "-n", n, "http://" + net.JoinHostPort(host, port) + "/"}
	}
	tries := []Try{
		{"ClusterIP by name", client, get("60", "my-svc", "80"), Spread(3)},
		{"Service with another targetPort", client, get("40", "service-python", "3002"), Spread(2)},
		{"headless by name", client, get("60", "my-headless", "80"), Spread(3)},
		{"A of a Service", client, []string{"echo", "lookup", "A", "my-svc"}, Lines(family(clusterIPs, true)...)},
		{"AAAA of a Service", client, []string{"echo", "lookup", "AAAA", "my-svc"}, Lines(family(clusterIPs, false)...)},
		{"A of a headless Service", client, []string{"echo", "lookup", "A", "my-headless"}, Count(3)},
		{"AAAA of a headless Service", client, []string{"echo", "lookup", "AAAA", "my-headless"}, Count(3)},
		{"SRV of a headless Service", client, []string{"echo", "lookup", "SRV", "_http._tcp.my-headless" + fqdn}, Count(6)},
		{"PTR of a ClusterIP", client, []string{"echo", "lookup", "PTR", clusterIPs[0].String()}, Lines("my-svc" + fqdn)},
		{"ExternalName", client, []string{"echo", "lookup", "CNAME", "my-registry" + fqdn}, Lines("registry.example.org.")},
	}
	for _, a := range clusterIPs {
		for _, from := range []lab.Place{client, lab.Place(l.Nodes[0].Name)} {
			tries = append(tries, Try{"ClusterIP " + ipv(a), from, get("60", a.String(), "80"), Spread(3)})
		}
	}
	for _, n := range l.Nodes {
		for _, a := range n.IPs {
			tries = append(tries, Try{"NodePort " + ipv(a) + " on " + n.Name, lab.Outside, get("60", a.String(), "30080"), Spread(3)})
		}
	}
	tries = append(tries,
		Try{"NodePort from a Pod", client, get("60", l.Nodes[1].IPs[0].String(), "30080"), Spread(3)},
		Try{"external address", lab.Outside, get("60", "198.51.100.10", "80"), Spread(3)},
		Try{"external address from a Pod", client, get("60", "198.51.100.10", "80"), Spread(3)},
	)
	for _, a := range lb {
		for _, from := range []lab.Place{lab.Outside, client} {
			tries = append(tries, Try{"LoadBalancer " + ipv(a), from, get("60", a.String(), "80"), Spread(3)})
		}
	}
	if len(lb) != 2 {
		tries = append(tries, Try{"LoadBalancer", lab.Outside, []string{"echo", "lookup", "A", "localhost"}, func(Answers) error {
			return fmt.Errorf("status.loadBalancer of my-loadbalancer has the addresses %v, want one of each family", lb)
		}})
	}
	return append(tries, Try{"a port that the Service does not have", client, get("3", clusterIPs[0].String(), "81"), Refused}), nil
}

// addresses reads what jsonpath prints for addresses: a JSON list, or words.
func addresses(out string) (list []netip.Addr, err error) {
	var words []string
	if json.Unmarshal([]byte(out), &words) != nil {
		words = strings.Fields(out)
	}
	for _, w := range words {
		a, err := netip.ParseAddr(w)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func family(list []netip.Addr, four bool) (out []string) {
	for _, a := range list {
		if a.Is4() == four {
			out = append(out, a.String())
		}
	}
	return out
}

func ipv(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
