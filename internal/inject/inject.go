package inject

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/redirect"
)

// Result is what became of a Pod.
type Result struct {
	Pod      *corev1.Pod // as it is to run; the given one if nothing is to be changed
	Reason   Reason      // why it gets no sidecar, "" if it does
	Warnings []string    // for whoever made it, each naming the field or the annotation
}

// Pod gives the Pod with its sidecar, or as it was and the reason. A Pod that has a sidecar stays as it is, but for what others have added to it
// since. The workload is what the Pod is of, nil to find out from the Pod.
//
// An error says what cannot be done as it is asked for; it begins with the Pod's name, and the Pod should not be let in.
func Pod(pod *corev1.Pod, ns Namespace, workload *Workload, c Config) (Result, error) {
	r, err := injected(pod, ns, workload, c)
	if err != nil {
		return Result{}, fmt.Errorf("Pod %s/%s: %w", ns.Name, name(pod), err)
	}
	return r, nil
}

// name is the Pod's, or what its name begins with.
func name(pod *corev1.Pod) string {
	if pod.Name == "" && pod.GenerateName != "" {
		return pod.GenerateName + "*"
	}
	return pod.Name
}

func injected(pod *corev1.Pod, ns Namespace, workload *Workload, c Config) (Result, error) {
	d, err := decide(pod, ns, c)
	if err != nil {
		return Result{}, err
	}
	if d.reason != "" {
		r := Result{Pod: pod, Reason: d.reason}
		if d.warning != "" {
			r.Warnings = []string{d.warning}
		}
		return r, nil
	}
	s, err := readSettings(pod.Annotations, c)
	if err != nil {
		return Result{}, err
	}
	if has(pod) {
		return again(pod, s)
	}
	if err := conflicts(pod, s); err != nil {
		return Result{}, err
	}
	if workload == nil {
		w := workloadOf(pod)
		workload = &w
	}
	out := pod.DeepCopy()
	added := add(out, ns, *workload, s, c)
	if err := probers(out, s); err != nil {
		return Result{}, err
	}
	if err := describe(out, *workload, added); err != nil {
		return Result{}, err
	}
	r := Result{Pod: out, Warnings: s.warnings}
	if warning, err := scraped(out, s); err != nil {
		return Result{}, err
	} else if warning != "" {
		r.Warnings = append(r.Warnings, warning)
	}
	if p := pod.Spec.DNSPolicy; p != "" && p != corev1.DNSClusterFirst && p != corev1.DNSClusterFirstWithHostNet {
		r.Warnings = append(r.Warnings, fmt.Sprintf("spec.dnsPolicy: with %s the proxy may not find %s", p, c.Control))
	}
	return r, nil
}

// add puts in the containers and volumes.
func add(pod *corev1.Pod, ns Namespace, w Workload, s settings, c Config) status {
	added := status{InitContainers: []string{}, Containers: []string{}, Revision: Revision}
	proxy := proxyContainer(pod, ns, w, s, c)
	spec := &pod.Spec
	turn := func() []corev1.Container {
		if !s.redirects {
			return nil
		}
		added.InitContainers = append(added.InitContainers, InitContainer)
		return []corev1.Container{initContainer(s, c)}
	}
	if s.native {
		// The application's init containers come after the proxy, and find it ready.
		spec.InitContainers = slices.Concat(turn(), []corev1.Container{proxy}, spec.InitContainers)
		added.InitContainers = append(added.InitContainers, ProxyContainer)
	} else {
		// There is no proxy before the application's init containers end: what they send is turned to nobody.
		spec.InitContainers = slices.Concat(spec.InitContainers, turn())
		added.Containers = append(added.Containers, ProxyContainer)
		if s.hold {
			spec.Containers = slices.Insert(spec.Containers, 0, proxy)
		} else {
			spec.Containers = append(spec.Containers, proxy)
		}
	}
	for _, v := range volumes() {
		spec.Volumes = append(spec.Volumes, v)
		added.Volumes = append(added.Volumes, v.Name)
	}
	return added
}

// probers has kubelets ask the agent, if the Pod does not say otherwise.
func probers(pod *corev1.Pod, s settings) error {
	if !s.rewrite {
		return nil
	}
	known := map[string]prober{}
	rewriteProbes(pod.Spec.InitContainers, known)
	rewriteProbes(pod.Spec.Containers, known)
	return setProbers(proxyOf(pod), known)
}

// has tells whether the Pod has its sidecar: the annotation alone, copied from another Pod, is none.
func has(pod *corev1.Pod) bool { return pod.Annotations[StatusAnnotation] != "" && proxyOf(pod) != nil }

func proxyOf(pod *corev1.Pod) *corev1.Container {
	for _, all := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		if i := slices.IndexFunc(all, called(ProxyContainer)); i >= 0 {
			return &all[i]
		}
	}
	return nil
}

// again looks at a Pod that has its sidecar. Others may have added containers since, whose probes are to be asked through the agent as well, or
// put them before ours.
func again(pod *corev1.Pod, s settings) (Result, error) {
	out := pod.DeepCopy()
	init := &out.Spec.InitContainers
	if slices.ContainsFunc(*init, called(ProxyContainer)) {
		*init = move(move(*init, ProxyContainer, 0), InitContainer, 0)
	} else {
		*init = move(*init, InitContainer, len(*init)-1)
	}
	if err := probers(out, s); err != nil {
		return Result{}, err
	}
	if same(pod, out) {
		out = pod
	}
	return Result{Pod: out, Reason: Already}, nil
}

func called(name string) func(corev1.Container) bool {
	return func(c corev1.Container) bool { return c.Name == name }
}

// move gives the containers with one of them, if it is there, in another place.
func move(all []corev1.Container, name string, to int) []corev1.Container {
	i := slices.IndexFunc(all, called(name))
	if i < 0 || i == to {
		return all
	}
	c := all[i]
	return slices.Insert(slices.Delete(slices.Clone(all), i, i+1), to, c)
}

// conflicts says what of the Pod leaves no room for a sidecar.
func conflicts(pod *corev1.Pod, s settings) error {
	var errs []error
	say := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c := pod.Spec.SecurityContext; c != nil {
		owner("spec.securityContext", c.RunAsUser, c.RunAsGroup, s, say)
	}
	taken := map[string]bool{}
	for _, v := range volumes() {
		taken[v.Name] = true
	}
	for i, v := range pod.Spec.Volumes {
		if taken[v.Name] {
			say("spec.volumes[%d].name: %s is a volume of the proxy", i, v.Name)
		}
	}
	for list, all := range map[string][]corev1.Container{"initContainers": pod.Spec.InitContainers, "containers": pod.Spec.Containers} {
		for i, c := range all {
			field := fmt.Sprintf("spec.%s[%d]", list, i)
			if c.Name == ProxyContainer || c.Name == InitContainer {
				say("%s.name: %s is put in by weft, which takes no container of that name from a Pod", field, c.Name)
			}
			if c.SecurityContext != nil {
				owner(field+".securityContext", c.SecurityContext.RunAsUser, c.SecurityContext.RunAsGroup, s, say)
			}
			for j, p := range c.Ports {
				if what, ok := reservedPorts[p.ContainerPort]; ok && p.Protocol != corev1.ProtocolUDP {
					say("%s.ports[%d].containerPort: %d is the proxy's, for %s", field, j, p.ContainerPort, what)
				}
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// owner says that somebody runs as the proxy does: his connections would pass the proxy by, and the policies with it.
func owner(field string, user, group *int64, s settings, say func(string, ...any)) {
	if !s.redirects {
		return
	}
	if user != nil && *user == redirect.ProxyUID {
		say("%s.runAsUser: %d is the proxy's, whose connections are not turned", field, *user)
	}
	if group != nil && *group == redirect.ProxyGID {
		say("%s.runAsGroup: %d is the proxy's, whose connections are not turned", field, *group)
	}
}
