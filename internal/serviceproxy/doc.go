// Package serviceproxy keeps a node's kernel in step with the plan of its Services.
//
// [Proxy] owns the loop: it takes what changed, coalesces it, hands one diff at a time to a [plan.Backend], repairs after failures, audits
// now and then, removes stale flows, keeps the last plan on disk for the time when the API server is away, and tells how it is doing
// (Status, metrics, healthz, the health-check ports of Services).
//
// It never reads Kubernetes objects, never decides which endpoints count (package plan does), and never touches the kernel itself (backends and
// package conntrack do).
package serviceproxy
