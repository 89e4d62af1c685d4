package resource

import (
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// NoCluster is the name of a cluster that never exists: where connections go that lead nowhere.
const NoCluster = "BlackHoleCluster"

// ListenerName is "0.0.0.0_80".
func ListenerName(port uint16) string { return "0.0.0.0_" + strconv.Itoa(int(port)) }

// ClusterName is "outbound|8081|v1|web.shop.svc.cluster.local".
func ClusterName(d model.Destination) string {
	return "outbound|" + strconv.Itoa(int(d.Port)) + "|" + d.Subset + "|" + d.Host
}

// ParseClusterName reads what ClusterName writes.
func ParseClusterName(name string) (d model.Destination, ok bool) {
	parts := strings.Split(name, "|")
	if len(parts) != 4 || parts[0] != "outbound" {
		return d, false
	}
	port, err := strconv.ParseUint(parts[1], 10, 16)
	d = model.Destination{Host: parts[3], Port: uint16(port), Subset: parts[2]}
	return d, err == nil && ClusterName(d) == name
}

const (
	secretScheme = "kubernetes://"
	caSuffix     = "-cacert"
)

// SecretName is what a Secret is called for proxies of a namespace: "kubernetes://NAME", or "kubernetes://NAMESPACE/NAME" if it is in another.
// As CAs to verify with, its name ends with "-cacert".
func SecretName(n model.ObjectName, fleet string, ca bool) string {
	name := n.Name
	if n.Namespace != fleet {
		name = n.Namespace + "/" + name
	}
	if ca && !strings.HasSuffix(name, caSuffix) {
		name += caSuffix
	}
	return secretScheme + name
}

// ParseSecretName gives the Secrets that a name may stand for, the better first.
func ParseSecretName(name, fleet string) (candidates []model.ObjectName, ca bool) {
	rest, ok := strings.CutPrefix(name, secretScheme)
	if !ok {
		return nil, false
	}
	n := model.ObjectName{Namespace: fleet, Name: rest}
	if ns, inside, other := strings.Cut(rest, "/"); other {
		n = model.ObjectName{Namespace: ns, Name: inside}
	}
	if n.Namespace == "" || n.Name == "" || strings.Contains(n.Name, "/") {
		return nil, false
	}
	candidates = append(candidates, n)
	if base, found := strings.CutSuffix(n.Name, caSuffix); found {
		ca = true
		if base != "" {
			candidates = append(candidates, model.ObjectName{Namespace: n.Namespace, Name: base})
		}
	}
	return candidates, ca
}
