// Package agent is what runs in a Pod of a mesh: it gets the Pod's certificate and keeps it good, serves it to the proxy, tells the kubelet how the
// application is, and runs the proxy: weft's own in this process, or stock Envoy as a process that it watches over.
//
// It puts the packages below it together and owns the order in which they begin and end: the proxy leaves last. It decides nothing about traffic.
package agent
