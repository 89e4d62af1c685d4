package install

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// stateDir is where a node keeps the last plan, on the host and in the container.
const stateDir = "/var/lib/weft"

// nodeDaemonSet runs the Service proxy. It starts on a node where nothing works yet: no Service address, no cluster DNS, no Pod network, and
// taints that say so.
func nodeDaemonSet(o Options) Object {
	meta := o.meta(Node)
	return &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: meta,
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector(Node)},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{
				MaxUnavailable: ptr(intstr.FromInt32(1)), MaxSurge: ptr(intstr.FromInt32(0)), // the ports are the host's
			}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: podMeta(Node, nodeAdminPort, nil),
				Spec: corev1.PodSpec{
					ServiceAccountName:            meta.Name,
					PriorityClassName:             "system-node-critical",
					HostNetwork:                   true,
					DNSPolicy:                     corev1.DNSDefault, // the host's resolver, though no name is needed
					Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					NodeSelector:                  map[string]string{corev1.LabelOSStable: "linux"},
					TerminationGracePeriodSeconds: ptr(int64(10)), // what is programmed stays
					SecurityContext:               &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
					Containers: []corev1.Container{{
						Name: Node, Image: o.Image, ImagePullPolicy: o.PullPolicy,
						Args: o.args(Node, argument{"--cluster-domain", []string{o.ClusterDomain}}, argument{"--cluster-cidr", o.ClusterCIDRs},
							argument{"--service-cidr", o.ServiceCIDRs}, argument{"--lb-pool", o.LBPools}, argument{"--state-dir", []string{stateDir}}),
						// The addresses of a Pod in the host's network are the host's.
						Env: environment(fromField("NODE_IPS", "status.podIPs")),
						Ports: []corev1.ContainerPort{
							hostPort("metrics", nodeAdminPort), hostPort("health", nodeHealthPort),
						},
						Resources:      requests("50m", "64Mi"),
						LivenessProbe:  probe("/livez", nodeHealthPort, 10),
						ReadinessProbe: probe("/readyz", nodeAdminPort, 2),
						// nftables, conntrack and receive buffers; packet sockets for ARP and neighbour solicitations.
						SecurityContext: asRoot(confined("NET_ADMIN", "NET_RAW")),
						VolumeMounts:    []corev1.VolumeMount{{Name: "state", MountPath: stateDir}},
					}},
					Volumes: []corev1.Volume{{Name: "state", VolumeSource: corev1.VolumeSource{
						HostPath: &corev1.HostPathVolumeSource{Path: stateDir, Type: ptr(corev1.HostPathDirectoryOrCreate)},
					}}},
				},
			},
		},
	}
}

// hostPort declares a port that, in the host's network, is the host's.
func hostPort(name string, port int) corev1.ContainerPort {
	p := containerPort(name, port, corev1.ProtocolTCP)
	p.HostPort = p.ContainerPort
	return p
}

// asRoot gives capabilities to a process: Kubernetes has no way to give them to another user.
func asRoot(c *corev1.SecurityContext) *corev1.SecurityContext {
	c.RunAsUser, c.RunAsGroup = ptr(int64(0)), ptr(int64(0))
	return c
}
