// Package credential is what a workload shows of itself in the mesh and whom it believes: its key and certificate, asked for from the mesh's authority and
// renewed in time, and the roots.
//
// The key is made here, anew for each certificate, and goes nowhere but to who asks a Source in this process and into one file of the Pod's own memory, from
// which a container that starts again goes on. It is never in a log, and never in a request.
package credential
