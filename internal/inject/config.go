package inject

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/weftmesh/weft/internal/redirect"
)

// Revision is weft's own value of the label istio.io/rev. A namespace or a Pod that has it is injected by weft whoever else injects.
const Revision = "weft"

// Config is what is the same for all Pods. Default gives one to begin with; Image and Control must be given.
type Config struct {
	Image           string // its /weft-proxy is run
	PullPolicy      corev1.PullPolicy
	System          string // namespace of weft, in which nothing is injected
	Control         string // host:port of control, for xDS and certificates
	ClusterDomain   string
	TrustDomain     string
	ClusterID       string              // as Istio names clusters to each other
	NativeSidecars  bool                // the cluster knows init containers that stay (Kubernetes 1.29)
	RewriteProbers  bool                // the application's probes are asked through the proxy, unless a Pod says otherwise
	AnswersDefault  bool                // istio-injection: enabled means weft, as do sidecar.istio.io/inject: "true" and the revision "default"
	Requests        corev1.ResourceList // of the proxy, unless a Pod says otherwise
	Redirect        redirect.Config     // what is turned, unless a Pod says otherwise
	HoldApplication bool                // a proxy that is a plain container keeps the application from starting before it is ready
}

// Default is a Config of a cluster of today.
func Default() Config {
	return Config{
		PullPolicy: corev1.PullIfNotPresent, System: "weft-system", ClusterDomain: "cluster.local", TrustDomain: "cluster.local", ClusterID: "Kubernetes",
		NativeSidecars: true, RewriteProbers: true, AnswersDefault: true, HoldApplication: true, Redirect: redirect.Default(),
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("40Mi")},
	}
}

// Revisions are the values of istio.io/rev that weft answers to.
func (c Config) Revisions() []string {
	if c.AnswersDefault {
		return []string{Revision, "default"}
	}
	return []string{Revision}
}

// Excluded are the namespaces in which nothing is ever injected, sorted: what runs there has to run before weft does.
func (c Config) Excluded() []string {
	out := []string{"kube-node-lease", "kube-public", "kube-system", c.System}
	slices.Sort(out)
	return slices.Compact(out)
}

// Namespace is what counts of a Pod's namespace.
type Namespace struct {
	Name   string
	Labels map[string]string
}
