package serviceproxy

import (
	"encoding/json"
	"net/http"
	"time"
)

// HealthTimeout is how long a change may wait to be in force before the node counts as unhealthy.
const HealthTimeout = time.Minute

// SetEligible says whether the node is meant to get traffic from load balancers: it is not while it is being deleted, or is tainted
// ToBeDeletedByClusterAutoscaler (KEP-3836).
func (p *Proxy) SetEligible(eligible bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eligible = eligible
}

// healthy tells whether something is in force, from disk or live, and nothing has been waiting for long.
func (p *Proxy) healthy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.healthyAt(time.Now())
}

func (p *Proxy) healthyAt(now time.Time) bool {
	waiting := p.waitingSince()
	return !p.state.lastFlush.IsZero() && (waiting.IsZero() || now.Sub(waiting) < HealthTimeout)
}

// HealthHandler answers /healthz, which load balancers ask whether to send the node new connections, and /livez, which asks only whether the
// Proxy does its work: 200 if so, otherwise 503. Paths, codes and the JSON body are those of kube-proxy on port 10256.
func (p *Proxy) HealthHandler() http.Handler {
	answer := func(needEligible bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			now := time.Now()
			p.mu.Lock()
			healthy, eligible, updated := p.healthyAt(now), p.eligible, p.state.lastFlush
			idle := p.waitingSince().IsZero()
			p.mu.Unlock()
			if healthy && idle {
				updated = now // nothing waits: what is in force is right as of now
			}
			body := struct {
				LastUpdated  string `json:"lastUpdated"`
				CurrentTime  string `json:"currentTime"`
				NodeEligible *bool  `json:"nodeEligible,omitempty"`
			}{LastUpdated: updated.String(), CurrentTime: now.String()}
			if needEligible {
				body.NodeEligible = &eligible
			}
			writeHealth(w, healthy && (eligible || !needEligible), body)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", answer(true))
	mux.HandleFunc("/livez", answer(false))
	return mux
}

func writeHealth(w http.ResponseWriter, good bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if good {
		w.WriteHeader(http.StatusOK)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // a client that went away is no concern of ours
}
