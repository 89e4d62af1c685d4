package upstream

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// ejected is the addresses that are out.
func ejected(c *Cluster) (out []string) {
	for _, e := range c.hosts.Load().endpoints {
		if e.failed.Load()&failedOutlier != 0 {
			out = append(out, e.key)
		}
	}
	return out
}

func TestConsecutive(t *testing.T) {
	bad := func(r Result, n int) func(*Endpoint) {
		return func(e *Endpoint) {
			for range n {
				e.Done(r)
			}
		}
	}
	for _, tc := range []struct {
		name, detection string
		do              func(*Endpoint)
		want            bool
		stat            string
	}{
		{"5 × 500", `"max_ejection_percent": 50`, bad(Result{Status: 500}, 5), true, "consecutive_5xx"},
		{"4 × 500", `"max_ejection_percent": 50`, bad(Result{Status: 500}, 4), false, ""},
		{"interrupted", `"max_ejection_percent": 50`, func(e *Endpoint) {
			bad(Result{Status: 500}, 4)(e)
			e.Done(Result{Status: 404})
			bad(Result{Status: 500}, 4)(e)
		}, false, ""},
		{"2 as asked", `"max_ejection_percent": 50, "consecutive_5xx": 2`, bad(Result{Status: 503}, 2), true, "consecutive_5xx"},
		{"gateway failures are not enforced unless asked", `"max_ejection_percent": 50, "consecutive_5xx": 100`, bad(Result{Status: 503}, 50), false, ""},
		{"gateway failures", `"max_ejection_percent": 50, "consecutive_5xx": 100, "consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100`,
			bad(Result{Status: 502}, 3), true, "consecutive_gateway_failure"},
		{"500 is no gateway failure", `"max_ejection_percent": 50, "consecutive_5xx": 100, "consecutive_gateway_failure": 3, "enforcing_consecutive_gateway_failure": 100`,
			bad(Result{Status: 500}, 30), false, ""},
		{"no connection counts as 503", `"max_ejection_percent": 50`, bad(Result{Failure: ConnectFailed}, 5), true, "consecutive_5xx"},
		{"local failures apart", `"max_ejection_percent": 50, "split_external_local_origin_errors": true, "consecutive_local_origin_failure": 2`,
			bad(Result{Failure: TimedOut}, 2), true, "consecutive_local_origin_failure"},
		{"local failures apart are no 5xx", `"max_ejection_percent": 50, "split_external_local_origin_errors": true, "consecutive_local_origin_failure": 20`,
			bad(Result{Failure: Reset}, 10), false, ""},
		{"not enforced", `"max_ejection_percent": 50, "enforcing_consecutive_5xx": 0`, bad(Result{Status: 500}, 5), false, ""},
		{"too many would be out", ``, bad(Result{Status: 500}, 5), false, ""},
		{"too many would be out, but one may", `"always_eject_one_host": true`, bad(Result{Status: 500}, 5), true, "consecutive_5xx"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, fmt.Sprintf(`"outlier_detection": {%s}`, tc.detection)), assignmentOf(t, many(3)...))
			tc.do(c.hosts.Load().endpoints[1])
			if out := ejected(c); (len(out) == 1 && out[0] == "10.0.0.1:80") != tc.want {
				t.Errorf("out: %v, want %v", out, tc.want)
			}
			if tc.stat != "" && stat(c, "outlier_detection.ejections_enforced_"+tc.stat) != 1 {
				t.Errorf("the ejection was not counted: %+v", c.Snapshot().Stats)
			}
			if tc.want {
				near(t, counts(t, c, 1000, anyPick), 1000, map[string]float64{"10.0.0.0:80": .5, "10.0.0.2:80": .5})
			}
		})
	}
}

// Each ejection is longer than the one before, up to a limit; a quiet time makes the next one shorter again; updates do not end it.
func TestEjectionTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, Options{})
		detection := `"outlier_detection": {"max_ejection_percent": 50, "interval": "1s", "base_ejection_time": "10s", "max_ejection_time": "25s"}`
		c := mustUpdate(t, s, edsCluster(t, detection), assignmentOf(t, many(3)...))
		e := c.hosts.Load().endpoints[0]
		out := func() time.Duration {
			t.Helper()
			for range 5 {
				e.Done(Result{Status: 500})
			}
			begin := time.Now()
			for len(ejected(c)) > 0 {
				mustUpdate(t, s, edsCluster(t, detection), assignmentOf(t, many(3+int(time.Since(begin).Seconds())%3)...))
				time.Sleep(time.Second)
				synctest.Wait()
			}
			return time.Since(begin).Truncate(time.Second)
		}
		for i, want := range []time.Duration{10 * time.Second, 20 * time.Second, 25 * time.Second, 25 * time.Second} {
			if got := out(); got != want {
				t.Errorf("ejection %d took %v, want %v", i+1, got, want)
			}
		}
		time.Sleep(time.Minute)
		if got := out(); got != 10*time.Second {
			t.Errorf("after a minute of quiet: %v", got)
		}
		if n := stat(c, "outlier_detection.ejections_active"); n != 0 {
			t.Errorf("ejections_active is %d", n)
		}

		for range 5 {
			e.Done(Result{Status: 500})
		}
		mustUpdate(t, s, edsCluster(t, ``), nil)
		if len(ejected(c)) != 0 {
			t.Error("detection was taken away, and the endpoint is still out")
		}
	})
}

func TestSuccessRate(t *testing.T) {
	for _, tc := range []struct{ name, detection, stat string }{
		{"success rate", `"consecutive_5xx": 10000, "interval": "1s", "max_ejection_percent": 50`, "success_rate"},
		{"failure percentage", `"consecutive_5xx": 10000, "interval": "1s", "max_ejection_percent": 50, "enforcing_success_rate": 0,
			"enforcing_failure_percentage": 100, "failure_percentage_threshold": 40`, "failure_percentage"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := mustUpdate(t, newSet(t, Options{}), edsCluster(t, fmt.Sprintf(`"outlier_detection": {%s}`, tc.detection)), assignmentOf(t, many(10)...))
				for i, e := range c.hosts.Load().endpoints {
					for n := range 200 {
						status := 200
						if i == 7 && n%2 == 0 || n%100 == i {
							status = 500
						}
						e.Done(Result{Status: status})
					}
				}
				time.Sleep(time.Second + time.Millisecond)
				synctest.Wait()
				if out := ejected(c); len(out) != 1 || out[0] != "10.0.0.7:80" || stat(c, "outlier_detection.ejections_enforced_"+tc.stat) != 1 {
					t.Errorf("out: %v", out)
				}
			})
		})
	}
}
