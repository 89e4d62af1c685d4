package inject

import (
	"encoding/json"
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
func describe(pod *corev1.Pod, w Workload, s settings, added status) error {
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
	scraped(pod, s)
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

// scraped lets a Prometheus that goes by annotations find the proxy's metrics, unless the Pod says itself what is to be scraped of it.
func scraped(pod *corev1.Pod, s settings) {
	if !s.merge {
		return
	}
	for _, own := range []string{"scrape", "port", "path", "scheme"} {
		if _, ok := pod.Annotations["prometheus.io/"+own]; ok {
			return
		}
	}
	absent(&pod.Annotations, "prometheus.io/scrape", "true")
	absent(&pod.Annotations, "prometheus.io/port", strconv.Itoa(StatusPort))
	absent(&pod.Annotations, "prometheus.io/path", "/stats/prometheus")
}
