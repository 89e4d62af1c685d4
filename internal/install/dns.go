package install

import (
	"maps"
	"net/netip"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// dnsServiceName is what everybody calls cluster DNS, whoever answers.
const dnsServiceName = "kube-dns"

// dnsStateDir is where a Pod of DNS keeps the objects, in memory, for as long as it lives.
const dnsStateDir = "/run/weft"

// dnsLabel is how everybody selects the Pods of cluster DNS: scrapers, network policies, people.
var dnsLabel = map[string]string{"k8s-app": dnsServiceName}

// dnsDeployment runs cluster DNS.
func dnsDeployment(o Options) Object {
	d := deployment(o, DNS, o.DNSReplicas)
	pod := &d.Spec.Template
	pod.ObjectMeta = podMeta(DNS, dnsAdminPort, dnsLabel)
	// Port 53 without a capability: the Pod's own network allows it to everybody (a safe sysctl by the Kubernetes documentation).
	pod.Spec.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: strconv.Itoa(dnsPort)}}
	pod.Spec.TerminationGracePeriodSeconds = ptr(int64(30))
	c := &pod.Spec.Containers[0]
	c.Args = o.args(DNS, argument{"--cluster-domain", []string{o.ClusterDomain}}, argument{"--reverse", append(append([]string{}, o.ServiceCIDRs...), o.ClusterCIDRs...)},
		argument{"--forward", o.DNSForward}, argument{"--state-dir", []string{dnsStateDir}})
	c.Ports = []corev1.ContainerPort{
		containerPort("dns", dnsPort, corev1.ProtocolUDP), containerPort("dns-tcp", dnsPort, corev1.ProtocolTCP), containerPort("metrics", dnsAdminPort, corev1.ProtocolTCP),
	}
	// A container that restarts while the API server is away goes on from what the one before it knew.
	c.VolumeMounts = []corev1.VolumeMount{{Name: "state", MountPath: dnsStateDir}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "state", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: ptr(resource.MustParse("256Mi"))}}}}
	c.Resources = requests("50m", "64Mi")
	c.LivenessProbe = probe("/health", dnsHealthPort, 10)
	c.ReadinessProbe = probe("/ready", dnsReadyPort, 2)
	return d
}

// dnsService has the address that every Pod asks. It selects our Pods only, also while another cluster DNS still runs.
func dnsService(o Options) Object {
	l := labels(DNS)
	maps.Copy(l, dnsLabel)
	l["kubernetes.io/cluster-service"] = "true"
	l["kubernetes.io/name"] = "CoreDNS" // kubectl cluster-info shows it, dashboards look for it
	s := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: dnsServiceName, Namespace: DNSNamespace, Labels: l, Annotations: scrape(dnsAdminPort)},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Selector: selector(DNS),
			ClusterIP: o.ClusterDNS[0], IPFamilyPolicy: ptr(corev1.IPFamilyPolicyPreferDualStack),
			Ports: []corev1.ServicePort{
				servicePort("dns", dnsPort, corev1.ProtocolUDP), servicePort("dns-tcp", dnsPort, corev1.ProtocolTCP), servicePort("metrics", dnsAdminPort, corev1.ProtocolTCP),
			},
		},
	}
	maps.Copy(s.Spec.Selector, dnsLabel)
	if len(o.ClusterDNS) > 1 { // else the API server may add an address of the other family, and it stays when this is applied again
		s.Spec.ClusterIPs = o.ClusterDNS
		for _, a := range o.ClusterDNS {
			family := corev1.IPv6Protocol
			if netip.MustParseAddr(a).Is4() { // Validate has parsed it
				family = corev1.IPv4Protocol
			}
			s.Spec.IPFamilies = append(s.Spec.IPFamilies, family)
		}
	}
	return s
}

func servicePort(name string, port int, protocol corev1.Protocol) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: int32(port), TargetPort: intstr.FromInt(port), Protocol: protocol}
}

func scrape(port int) map[string]string {
	return map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": strconv.Itoa(port)}
}

// deployment is what the components that are no part of a node have in common: no privileges at all, spread over nodes where that is
// possible, and there before what users run.
func deployment(o Options, component string, replicas int32) *appsv1.Deployment {
	meta := o.meta(component)
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: selector(component)},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxUnavailable: ptr(intstr.FromInt32(0)), MaxSurge: ptr(intstr.FromInt32(1)),
			}},
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				ServiceAccountName: meta.Name,
				PriorityClassName:  "system-cluster-critical",
				DNSPolicy:          corev1.DNSDefault, // the node's resolver: cluster DNS is not asked by those it depends on
				NodeSelector:       map[string]string{corev1.LabelOSStable: "linux"},
				Tolerations: []corev1.Toleration{
					{Key: "CriticalAddonsOnly", Operator: corev1.TolerationOpExists},
					{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
				},
				TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
					MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
					LabelSelector: &metav1.LabelSelector{MatchLabels: selector(component)},
				}},
				SecurityContext: &corev1.PodSecurityContext{
					RunAsNonRoot: ptr(true), RunAsUser: ptr(int64(user)), RunAsGroup: ptr(int64(user)),
					SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				},
				Containers: []corev1.Container{{
					Name: component, Image: o.Image, ImagePullPolicy: o.PullPolicy, Env: environment(), SecurityContext: confined(),
				}},
			}},
		},
	}
}
