// Package dns is the cluster's name server: it answers for the cluster's names from a [zone.Zone] and hands everything else to a
// [forward.Forwarder], over UDP and TCP, both IP families.
//
// It owns the sockets, the bounds on what is worked on at a time, what happens to packets that are no proper queries, and the metrics.
// What a name stands for is package zone's, what others say is package forward's, the bytes are package wire's. It never reads an object
// of Kubernetes.
//
// The path of a query that can be answered at once takes no lock and allocates nothing: packets are read and written in batches by one
// goroutine a socket, each with buffers and counters of its own.
package dns
