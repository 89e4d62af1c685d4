package inject

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/weftmesh/weft/internal/redirect"
)

// The containers that are added, named as Istio's.
const (
	InitContainer  = "istio-init"
	ProxyContainer = "istio-proxy"
)

// Where the agent finds what it needs, and keeps what it knows.
const (
	tokenDir  = "/var/run/secrets/tokens"
	tokenName = "istio-token"
	rootDir   = "/var/run/secrets/istio"
	socketDir = "/var/run/secrets/workload-spiffe-uds"
	stateDir  = "/var/lib/weft"
	podDir    = "/etc/istio/pod" // what the downward API says of the Pod: its labels

	rootConfigMap = "istio-ca-root-cert"
	audience      = "istio-ca"
	tokenSeconds  = 43200

	readinessPort = 15021
)

// initContainer turns the Pod's connections to the proxy. It is the only one that may change the network, and it ends before the application begins.
// Where Istio's needs NET_RAW too, for iptables, nftables do without.
func initContainer(s settings, c Config) corev1.Container {
	return corev1.Container{
		Name: InitContainer, Image: s.image, ImagePullPolicy: c.PullPolicy, Command: []string{"/weft-proxy"}, Args: append([]string{"redirect"}, s.redirect.Args()...),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr(false), Privileged: ptr(false), ReadOnlyRootFilesystem: ptr(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_ADMIN"}},
			RunAsUser:    ptr(int64(0)), RunAsGroup: ptr(int64(0)), RunAsNonRoot: ptr(false),
		},
		Resources: s.resources,
	}
}

// proxyContainer is the proxy and its agent, in one process.
func proxyContainer(pod *corev1.Pod, ns Namespace, w Workload, s settings, c Config) corev1.Container {
	out := corev1.Container{
		Name: ProxyContainer, Image: s.image, ImagePullPolicy: c.PullPolicy, Command: []string{"/weft-proxy"}, Args: agentArgs(s),
		Env: append(environment(pod, ns, w, c), s.env...),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr(false), Privileged: ptr(false), ReadOnlyRootFilesystem: ptr(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			RunAsUser:    ptr(int64(redirect.ProxyUID)), RunAsGroup: ptr(int64(redirect.ProxyGID)), RunAsNonRoot: ptr(true),
		},
		Resources: s.resources,
		StartupProbe: &corev1.Probe{
			ProbeHandler: ready(), PeriodSeconds: 1, TimeoutSeconds: 3, FailureThreshold: 600,
		},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler: ready(), TimeoutSeconds: 3,
			InitialDelaySeconds: s.readiness.InitialDelaySeconds, PeriodSeconds: s.readiness.PeriodSeconds, FailureThreshold: s.readiness.FailureThreshold,
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "workload-socket", MountPath: socketDir},
			{Name: "istiod-ca-cert", MountPath: rootDir, ReadOnly: true},
			{Name: "istio-token", MountPath: tokenDir, ReadOnly: true},
			{Name: "istio-podinfo", MountPath: podDir, ReadOnly: true},
			{Name: "weft-state", MountPath: stateDir},
		},
	}
	switch {
	case s.native:
		out.RestartPolicy = ptr(corev1.ContainerRestartPolicyAlways)
	case s.hold:
		// Containers are started in their order, and the next one only when this has ended.
		out.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/weft-proxy", "wait"}}}}
	}
	return out
}

func agentArgs(s settings) []string {
	args := []string{"agent"}
	if s.level != "" {
		args = append(args, "--log-level="+s.level)
	}
	if s.envoy != "" {
		args = append(args, "--envoy="+s.envoy)
	}
	if s.drain > 0 {
		args = append(args, "--drain-time="+s.drain.String())
	}
	return args
}

func ready() corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz/ready", Port: intstr.FromInt32(readinessPort), Scheme: corev1.URISchemeHTTP}}
}

// environment is what the agent is told of itself. Nothing of it gives it a right: control finds out by its token who it is.
func environment(pod *corev1.Pod, ns Namespace, w Workload, c Config) []corev1.EnvVar {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	name := w.Name
	if own := pod.Labels["service.istio.io/workload-name"]; own != "" {
		name = own
	}
	return []corev1.EnvVar{
		field("POD_NAME", "metadata.name"),
		field("POD_NAMESPACE", "metadata.namespace"),
		field("INSTANCE_IP", "status.podIP"),
		field("HOST_IP", "status.hostIP"),
		field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
		{Name: "CA_ADDR", Value: c.Control},
		{Name: "TRUST_DOMAIN", Value: c.TrustDomain},
		{Name: "CLUSTER_DOMAIN", Value: c.ClusterDomain},
		{Name: "ISTIO_META_CLUSTER_ID", Value: c.ClusterID},
		{Name: "ISTIO_META_WORKLOAD_NAME", Value: name},
		{Name: "ISTIO_META_OWNER", Value: w.owner(ns.Name)},
		{Name: "GOMEMLIMIT", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1")}}},
	}
}

// reserved tells whether a variable is weft's own to set.
func reserved(name string) bool {
	if name == ProbersEnv || name == MetricsEnv {
		return true
	}
	for _, e := range environment(&corev1.Pod{}, Namespace{}, Workload{}, Config{}) {
		if e.Name == name {
			return true
		}
	}
	return false
}

// volumes are what the proxy's mounts name. Keys and state are in memory, and gone with the Pod.
func volumes() []corev1.Volume {
	memory := func(name string) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: ptr(resource.MustParse("64Mi"))}}}
	}
	return []corev1.Volume{
		memory("workload-socket"),
		{Name: "istiod-ca-cert", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: rootConfigMap}, DefaultMode: ptr(corev1.ConfigMapVolumeSourceDefaultMode),
		}}},
		{Name: "istio-token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Audience: audience, ExpirationSeconds: ptr(int64(tokenSeconds)), Path: tokenName,
			}}},
			DefaultMode: ptr(corev1.ProjectedVolumeSourceDefaultMode),
		}}},
		{Name: "istio-podinfo", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items:       []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.labels"}}},
			DefaultMode: ptr(corev1.DownwardAPIVolumeSourceDefaultMode),
		}}},
		memory("weft-state"),
	}
}

func ptr[T any](v T) *T { return &v }

// reservedPorts are the proxy's. An application that declares one of them cannot listen there, nor can the proxy if it came later.
var reservedPorts = map[int32]string{
	15000: "its admin endpoint", redirect.OutboundPort: "what goes out", redirect.InboundPort: "what comes in", StatusPort: "metrics and probes",
	readinessPort: "its readiness", 15090: "Envoy's metrics",
}
