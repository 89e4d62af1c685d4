// Package install is what weft is in a cluster: the objects that run its components, as typed values, and how they are brought in and taken
// out. It owns names, labels, ports, permissions, priorities and the order in which components come up.
//
// It never uses templates, and it writes nothing that it did not make: an object of somebody else under a name it needs is an error, unless
// the user says that it is to be replaced.
//
// # Where things live
//
// Everything is in the namespace weft-system, but for cluster DNS: its Service must be kube-system/kube-dns, which users' policies, scrapers
// and scripts know, a Service selects Pods of its own namespace only, and policies that let Pods ask for names select them there.
package install
