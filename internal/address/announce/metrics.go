//go:build linux

package announce

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	arp, ndp      protocolMetrics
	announcements prometheus.Counter
	sendFailures  prometheus.Counter
}

// protocolMetrics are of ARP or of neighbour discovery.
type protocolMetrics struct{ answers, malformed, conflicts prometheus.Counter }

func newMetrics(reg prometheus.Registerer, a *Announcer) (*metrics, error) {
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weft_node_announce_" + name, Help: help}, []string{"protocol"})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_node_announce_" + name, Help: help})
	}
	answers := vec("answers_total", "ARP requests and neighbour solicitations answered.")
	malformed := vec("malformed_total", "ARP requests and neighbour solicitations dropped because they are not as they should be.")
	conflicts := vec("conflicts_total", "Times another station said that an address of ours is its own.")
	of := func(protocol string) protocolMetrics {
		return protocolMetrics{answers.WithLabelValues(protocol), malformed.WithLabelValues(protocol), conflicts.WithLabelValues(protocol)}
	}
	m := &metrics{
		arp: of("arp"), ndp: of("ndp"),
		announcements: counter("sent_total", "Announcements of an address on an interface; a takeover has three."),
		sendFailures:  counter("send_failures_total", "Frames that could not be sent."),
	}
	if reg == nil {
		return m, nil
	}
	addresses := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weft_node_announce_addresses", Help: "LoadBalancer addresses this node answers for.",
	}, func() float64 { return float64(len(*a.ours.Load())) })
	for _, c := range []prometheus.Collector{answers, malformed, conflicts, m.announcements, m.sendFailures, addresses} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("announce: register metrics: %w", err)
		}
	}
	return m, nil
}
