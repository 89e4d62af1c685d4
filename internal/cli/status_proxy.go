package cli

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/admin"
	"github.com/weftmesh/weft/internal/install"
)

// ofProxy begins the names of the sections in which control says what a proxy has.
const ofProxy = "proxy "

// proxyStatus is what a gateway's Pod says of itself; what it is configured with, control knows.
func proxyStatus(pod *corev1.Pod) componentStatus {
	s := componentStatus{Pod: pod.Name, Node: pod.Spec.NodeName, Phase: string(pod.Status.Phase), kind: install.Gateway, place: pod.Namespace + "/" + pod.Name,
		Said: &admin.Status{Component: install.Gateway}}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			s.Said.Ready = c.Status == corev1.ConditionTrue
		}
	}
	if !s.Said.Ready {
		s.Said.NotReady = []string{"proxy"}
		if waiting := reasonWaiting(pod); waiting != nil {
			s.Said.NotReady = []string{waiting.Error()}
		}
	}
	return s
}

// proxies moves what control says of a proxy to the Pod that the proxy is.
func (r *report) proxies() {
	byPlace := map[string]*componentStatus{}
	for i := range r.Components {
		if c := &r.Components[i]; c.place != "" {
			byPlace[c.place] = c
		}
	}
	for i := range r.Components {
		said := r.Components[i].Said
		if said == nil {
			continue
		}
		said.Sections = slices.DeleteFunc(said.Sections, func(s admin.Section) bool {
			place, ok := strings.CutPrefix(s.Name, ofProxy)
			of := byPlace[place]
			if !ok || of == nil {
				return false
			}
			s.Name = "from " + r.Components[i].Pod
			of.Said.Sections = append(of.Said.Sections, s)
			return true
		})
	}
	for _, c := range byPlace {
		if len(c.Said.Sections) == 0 {
			c.Said.Sections = []admin.Section{{Name: "proxy", Origin: admin.FromNobody, Error: "no control has a stream with it"}}
		}
	}
}
