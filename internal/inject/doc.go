// Package inject says what a Pod looks like with weft's sidecar in it: a pure function from a Pod, its namespace and a configuration to the Pod
// as it is to run, or to the reason why it stays as it is. The webhook and weft inject say the same because both ask here.
//
// Labels and annotations are Istio's, and so is what they mean. Three containers' worth of things are added: istio-init, which turns the Pod's
// connections to the proxy and ends; istio-proxy, a native sidecar between it and the application's own init containers, so that those have
// network, a Job ends, and the proxy leaves last; and the volumes of these. Probes of the application are asked through the proxy's
// process, which knows how to reach it.
//
// What cannot be understood is refused with the object, the annotation or field, and why: a Pod that runs without a sidecar where somebody
// wanted one would pass by every policy.
//
// The package reads no cluster, and never changes the Pod that it is given.
package inject
