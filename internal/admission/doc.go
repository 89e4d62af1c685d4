// Package admission is what the API server asks about objects before it takes them: for now, about Pods that are to get a sidecar. It owns the
// HTTPS endpoint that answers, and the MutatingWebhookConfiguration by which the API server knows whom to ask and how.
//
// Only Pods that want weft are asked about: the selectors are Istio's, so one that nobody injects does not wait for control, nor do kube-system and
// weft's own namespace, whatever their labels. For the others the policy is Fail: with control away, a Pod of a mesh is not created, and whoever
// wants it tries again; one that ran without its sidecar would pass by every policy. Pods that are there are not asked about, and go on.
//
// An answer changes nothing but the Pod. What the package decides about a Pod is package inject's; it never reads a cluster to answer.
package admission
