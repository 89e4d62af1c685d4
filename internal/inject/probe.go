package inject

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ProbersEnv is the variable that tells the agent in the proxy's container what the application's probes were.
const ProbersEnv = "ISTIO_KUBE_APP_PROBERS"

// StatusPort is where the agent is asked instead.
const StatusPort = 15020

// prober is a probe of the application, as ProbersEnv has it by the path that stands for it now.
type prober struct {
	HTTPGet        *corev1.HTTPGetAction   `json:"httpGet,omitempty"`
	TCPSocket      *corev1.TCPSocketAction `json:"tcpSocket,omitempty"`
	GRPC           *corev1.GRPCAction      `json:"grpc,omitempty"`
	TimeoutSeconds int32                   `json:"timeoutSeconds,omitempty"`
}

// rewriteProbes lets kubelets ask the agent instead of the application's containers, and adds what they asked before to known. What stays as it is:
// commands, which run in the container; what is asked of another host; and what was rewritten before.
func rewriteProbes(containers []corev1.Container, known map[string]prober) {
	for i := range containers {
		c := &containers[i]
		if c.Name == ProxyContainer || c.Name == InitContainer {
			continue
		}
		for path, probe := range map[string]*corev1.Probe{
			"/app-health/" + c.Name + "/readyz": c.ReadinessProbe, "/app-health/" + c.Name + "/livez": c.LivenessProbe,
			"/app-health/" + c.Name + "/startupz": c.StartupProbe,
		} {
			if probe == nil {
				continue
			}
			was := prober{HTTPGet: probe.HTTPGet, TCPSocket: probe.TCPSocket, GRPC: probe.GRPC, TimeoutSeconds: probe.TimeoutSeconds}
			if instead := was.rewrite(c, path, known); instead != nil {
				probe.ProbeHandler = corev1.ProbeHandler{HTTPGet: instead}
			}
		}
		if c.Lifecycle == nil {
			continue
		}
		for path, hook := range map[string]*corev1.LifecycleHandler{
			"/app-lifecycle/" + c.Name + "/prestopz": c.Lifecycle.PreStop, "/app-lifecycle/" + c.Name + "/poststartz": c.Lifecycle.PostStart,
		} {
			if hook == nil {
				continue
			}
			was := prober{HTTPGet: hook.HTTPGet, TCPSocket: hook.TCPSocket}
			if instead := was.rewrite(c, path, known); instead != nil {
				*hook = corev1.LifecycleHandler{HTTPGet: instead}
			}
		}
	}
}

// rewrite gives what is asked instead, nil if nothing is to be changed, and adds the probe itself to known with its port as a number.
func (p prober) rewrite(c *corev1.Container, path string, known map[string]prober) *corev1.HTTPGetAction {
	var port *intstr.IntOrString
	var host string
	// The agent hands on what it is asked with, so the headers stay with the kubelet's question.
	var headers []corev1.HTTPHeader
	switch {
	case p.HTTPGet != nil:
		p.HTTPGet = p.HTTPGet.DeepCopy()
		port, host, headers = &p.HTTPGet.Port, p.HTTPGet.Host, p.HTTPGet.HTTPHeaders
	case p.TCPSocket != nil:
		p.TCPSocket = p.TCPSocket.DeepCopy()
		port, host = &p.TCPSocket.Port, p.TCPSocket.Host
	case p.GRPC == nil:
		return nil
	}
	if host != "" {
		return nil
	}
	if port != nil {
		number := portNumber(c, *port)
		if number == 0 || number == StatusPort {
			return nil
		}
		*port = intstr.FromInt32(number)
	}
	known[path] = p
	return &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(StatusPort), Scheme: corev1.URISchemeHTTP, HTTPHeaders: headers}
}

// portNumber gives the port of a container that is meant, 0 if it has none of that name: the kubelet then says so, as without a sidecar.
func portNumber(c *corev1.Container, port intstr.IntOrString) int32 {
	if port.Type == intstr.Int {
		return port.IntVal
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return p.ContainerPort
		}
	}
	return 0
}

// setProbers puts probers into a container's environment beside those that are there.
func setProbers(proxy *corev1.Container, add map[string]prober) error {
	if len(add) == 0 {
		return nil
	}
	all := map[string]prober{}
	at := -1
	for i, e := range proxy.Env {
		if e.Name == ProbersEnv {
			at = i
			if err := json.Unmarshal([]byte(e.Value), &all); err != nil {
				return fmt.Errorf("container %s: env %s: %w", proxy.Name, ProbersEnv, err)
			}
		}
	}
	maps.Copy(all, add)
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if at < 0 {
		proxy.Env = append(proxy.Env, corev1.EnvVar{Name: ProbersEnv, Value: string(text)})
	} else {
		proxy.Env[at].Value = string(text)
	}
	return nil
}
