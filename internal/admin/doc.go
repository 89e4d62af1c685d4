// Package admin is the HTTP endpoint that every component of weft offers to kubelets, scrapers and people: health, metrics, status and
// profiles. It owns the paths, the shape of a status, and the lives of the listeners.
//
// It never knows what a component does: checks, status sections and further handlers are given to it. It never changes anything: every
// path only reads. It holds no authentication, so nothing secret may be put into a status; what only the machine's own users may see is
// wrapped in [Loopback].
package admin
