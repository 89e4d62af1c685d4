package proxy_test

import (
	"testing"
)

// A circuit breaker that is open is no reason to try again: that would be more of what it keeps away.
func TestOverflowIsNotRetried(t *testing.T) {
	r := start(t, []string{hcm("main", "", all(toWeb("/", `, retry_policy: {retry_on: "5xx,gateway-error", num_retries: 3, retry_back_off: {base_interval: 0.001s}}`)))},
		[]string{cluster("web", "circuit_breakers: {thresholds: [{max_requests: 0}]}", closed(t))})
	if resp, _ := r.get("/"); resp.StatusCode != 503 {
		t.Errorf("%d", resp.StatusCode)
	}
	if l := r.line("/"); l["flags"] != "UO" || l["attempts"] != 1.0 {
		t.Errorf("%v", l)
	}
}
