package inject

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Workload is what a Pod is one of, and what telemetry calls it.
type Workload struct{ APIVersion, Kind, Name string }

var ofCronJob = regexp.MustCompile(`^(.+)-\d{8,10}$`)

// workloadOf finds out what made a Pod, as far as the Pod itself shows.
func workloadOf(pod *corev1.Pod) Workload {
	w := Workload{"v1", "Pod", pod.Name}
	if w.Name == "" {
		w.Name = strings.TrimSuffix(pod.GenerateName, "-")
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return w
	}
	w = Workload{owner.APIVersion, owner.Kind, owner.Name}
	switch hash := pod.Labels["pod-template-hash"]; owner.Kind {
	case "ReplicaSet":
		if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && hash != "" {
			w.Kind, w.Name = "Deployment", name
		} else if hash := pod.Labels["rollouts-pod-template-hash"]; hash != "" {
			if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok {
				w = Workload{"argoproj.io/v1alpha1", "Rollout", name}
			}
		}
	case "ReplicationController":
		if name := pod.Labels["deploymentconfig"]; name != "" {
			w = Workload{"apps.openshift.io/v1", "DeploymentConfig", name}
		}
	case "Job":
		if m := ofCronJob.FindStringSubmatch(owner.Name); m != nil {
			w.Kind, w.Name = "CronJob", m[1]
		}
	}
	return w
}

// owner names the workload as Istio's proxies tell it to each other.
func (w Workload) owner(namespace string) string {
	return "kubernetes://apis/" + w.APIVersion + "/namespaces/" + namespace + "/" + strings.ToLower(w.Kind) + "s/" + w.Name
}

// canonical gives a Pod's canonical service and revision: which service it is an instance of, however many workloads that has.
func canonical(labels map[string]string, w Workload) (name, revision string) {
	first := func(otherwise string, keys ...string) string {
		for _, k := range keys {
			if v := labels[k]; v != "" {
				return v
			}
		}
		return otherwise
	}
	name = first(w.Name, CanonicalNameLabel, "app.kubernetes.io/name", "app")
	return strings.Trim(name[:min(len(name), 63)], "-_."), first("latest", CanonicalRevisionLabel, "app.kubernetes.io/version", "version")
}
