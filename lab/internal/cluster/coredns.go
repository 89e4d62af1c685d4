package cluster

import (
	"context"
	"fmt"
	"strconv"

	"github.com/weftmesh/weft/lab/internal/artefact"
)

const corefile = `.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf
    cache 30
    loadbalance
}
`

const coreDNSPath = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"

// applyCoreDNS installs CoreDNS as clusters usually have it, but that it is
// told where the API server is, to which no Service proxy may lead; and returns
// when it answers.
func (c *Cluster) applyCoreDNS(ctx context.Context) error {
	const rbac = "rbac.authorization.k8s.io"
	name := func(n string) object { return object{"name": n, "namespace": "kube-system"} }
	labels := object{"k8s-app": "kube-dns"}
	server := c.plan.APIServer()
	read := func(group string, resources ...string) object {
		return object{"apiGroups": []string{group}, "resources": resources, "verbs": []string{"list", "watch"}}
	}
	probe := func(path string, port int) object {
		return object{"httpGet": object{"path": path, "port": port}, "periodSeconds": 2, "failureThreshold": 15}
	}
	pod := object{
		"serviceAccountName": "coredns",
		"priorityClassName":  "system-cluster-critical",
		"dnsPolicy":          "Default",
		"volumes":            []object{{"name": "config", "configMap": object{"name": "coredns"}}},
		"containers": []object{{
			"name": "coredns", "image": artefact.CoreDNSImage, "imagePullPolicy": "Never",
			"args": []string{"-conf", "/etc/coredns/Corefile"},
			"env": []object{
				{"name": "KUBERNETES_SERVICE_HOST", "value": server.Addr().String()},
				{"name": "KUBERNETES_SERVICE_PORT", "value": strconv.Itoa(int(server.Port()))},
			},
			"volumeMounts":   []object{{"name": "config", "mountPath": "/etc/coredns"}},
			"ports":          []object{{"name": "dns", "containerPort": 53, "protocol": "UDP"}, {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"}},
			"livenessProbe":  probe("/health", 8080),
			"readinessProbe": probe("/ready", 8181),
		}},
	}
	for _, o := range []struct {
		path    string
		content object
	}{
		{"/api/v1/namespaces/kube-system/serviceaccounts/coredns", object{
			"apiVersion": "v1", "kind": "ServiceAccount", "metadata": name("coredns")}},
		{"/apis/" + rbac + "/v1/clusterroles/system:coredns", object{
			"apiVersion": rbac + "/v1", "kind": "ClusterRole", "metadata": object{"name": "system:coredns"},
			"rules": []object{read("", "endpoints", "services", "pods", "namespaces"), read("discovery.k8s.io", "endpointslices")}}},
		{"/apis/" + rbac + "/v1/clusterrolebindings/system:coredns", object{
			"apiVersion": rbac + "/v1", "kind": "ClusterRoleBinding", "metadata": object{"name": "system:coredns"},
			"roleRef":  object{"apiGroup": rbac, "kind": "ClusterRole", "name": "system:coredns"},
			"subjects": []object{{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}}}},
		{"/api/v1/namespaces/kube-system/configmaps/coredns", object{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": name("coredns"), "data": object{"Corefile": corefile}}},
		{coreDNSPath, object{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": name("coredns"),
			"spec": object{"replicas": 1, "selector": object{"matchLabels": labels}, "template": object{"metadata": object{"labels": labels}, "spec": pod}}}},
		{"/api/v1/namespaces/kube-system/services/kube-dns", object{
			"apiVersion": "v1", "kind": "Service", "metadata": name("kube-dns"),
			"spec": object{"clusterIP": c.plan.ClusterDNS.String(), "selector": labels, "ports": []object{
				{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}, {"name": "metrics", "port": 9153}}}}},
	} {
		if err := c.api.apply(ctx, o.path, o.content); err != nil {
			return fmt.Errorf("CoreDNS: %w", err)
		}
	}
	if err := c.api.waitDeployment(ctx, coreDNSPath); err != nil {
		return fmt.Errorf("CoreDNS: %w", err)
	}
	return nil
}
