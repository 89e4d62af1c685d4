package inject

import (
	"encoding/json"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Labels that an injected Pod has, which are Istio's.
const (
	TLSModeLabel           = "security.istio.io/tlsMode"
	CanonicalNameLabel     = "service.istio.io/canonical-name"
	CanonicalRevisionLabel = "service.istio.io/canonical-revision"
)

// status is the value of StatusAnnotation: what was added to the Pod. By its being there control knows that a Pod has a sidecar.
type status struct {
	InitContainers   []string `json:"initContainers"`
	Containers       []string `json:"containers"`
	Volumes          []string `json:"volumes"`
	ImagePullSecrets []string `json:"imagePullSecrets"`
	Revision         string   `json:"revision"`
}

// describe gives the Pod the labels and annotations of an injected one. What it says of itself stays.
func describe(pod *corev1.Pod, w Workload, added status) error {
	name, revision := canonical(pod.Labels, w)
	absent(&pod.Labels, TLSModeLabel, "istio")
	if name != "" {
		absent(&pod.Labels, CanonicalNameLabel, name)
	}
	absent(&pod.Labels, CanonicalRevisionLabel, revision)
	absent(&pod.Annotations, RevisionLabel, Revision)
	if len(pod.Spec.Containers) > 0 {
		// Of kubectl: the application is looked at and entered, not its proxy.
		for _, c := range pod.Spec.Containers {
			if c.Name != ProxyContainer {
				absent(&pod.Annotations, "kubectl.kubernetes.io/default-container", c.Name)
				absent(&pod.Annotations, "kubectl.kubernetes.io/default-logs-container", c.Name)
				break
			}
		}
	}
	text, err := json.Marshal(added)
	if err != nil {
		return err
	}
	pod.Annotations[StatusAnnotation] = string(text)
	return nil
}

// absent sets what is not there.
func absent(m *map[string]string, key, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	if _, ok := (*m)[key]; !ok {
		(*m)[key] = value
	}
}

// MetricsEnv is the variable that tells the agent in the proxy's container what Prometheus was to scrape of the application.
const MetricsEnv = "ISTIO_PROMETHEUS_ANNOTATIONS"

// scrape is what a Pod's annotations say of it, as MetricsEnv has it.
type scrape struct {
	Scrape string `json:"scrape"`
	Path   string `json:"path"`
	Port   string `json:"port"`
	Scheme string `json:"scheme,omitempty"`
}

const scrapeAnnotations = "prometheus.io/"

// scraped leads a Prometheus that goes by annotations to the agent, which shows the application's metrics, if it has any, beside the proxy's: Prometheus has no
// certificate of the mesh. A Pod that is not to be scraped is not. The warning says what cannot be led so, and stays as it is.
func scraped(pod *corev1.Pod, s settings) (warning string, err error) {
	of := func(name string) string { return pod.Annotations[scrapeAnnotations+name] }
	own := scrape{Scrape: of("scrape"), Path: of("path"), Port: of("port"), Scheme: of("scheme")}
	if on, err := strconv.ParseBool(own.Scrape); !s.merge || own.Scrape != "" && (err != nil || !on) || own.Port == strconv.Itoa(StatusPort) {
		return "", nil
	}
	if own != (scrape{}) {
		if own.Port == "" {
			own.Port = firstPort(pod)
		}
		if n, err := strconv.ParseUint(own.Port, 10, 16); err != nil || n == 0 {
			return fmt.Sprintf("annotation %sport: %q is no port; Prometheus is not led to the proxy, and may not get at the application", scrapeAnnotations, own.Port), nil
		}
		text, err := json.Marshal(own)
		if err != nil {
			return "", err
		}
		proxy := proxyOf(pod)
		proxy.Env = append(proxy.Env, corev1.EnvVar{Name: MetricsEnv, Value: string(text)})
	}
	for name, value := range map[string]string{"scrape": "true", "port": strconv.Itoa(StatusPort), "path": "/stats/prometheus"} {
		pod.Annotations[scrapeAnnotations+name] = value // describe has made the map
	}
	delete(pod.Annotations, scrapeAnnotations+"scheme")
	return "", nil
}

// firstPort is the port that the application declares first, or else HTTP's.
func firstPort(pod *corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if c.Name != ProxyContainer && p.Protocol != corev1.ProtocolUDP && p.Protocol != corev1.ProtocolSCTP {
				return strconv.Itoa(int(p.ContainerPort))
			}
		}
	}
	return "80"
}
