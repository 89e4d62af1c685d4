// Package stats counts what the data plane does: plain counters and gauges, and for each destination the requests, their durations and sizes under
// the names and labels that Istio's dashboards ask for.
//
// Counting takes no lock and makes no garbage: whoever counts holds the counter, resolved when configuration was compiled, and adds to one of its
// shards, so that connections on different processors do not write to the same cache line. Reading adds the shards up. Label values come from
// configuration and from small fixed sets (status codes, flags), never from what a client sent.
//
// It owns the numbers and the text that Prometheus reads. It does not serve it.
package stats
