package field

import (
	"errors"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

func TestPath(t *testing.T) {
	cause := errors.New("broken")
	err := At("virtual_hosts", 3, At("routes", 1, In("match", In("safe_regex", cause))))
	if got := err.Error(); got != "virtual_hosts[3].routes[1].match.safe_regex: broken" {
		t.Error(got)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if In("x", nil) != nil || At("x", 1, nil) != nil {
		t.Error("no error has no path")
	}
}

func TestOnly(t *testing.T) {
	m := &routev3.Route{Name: "a", StatPrefix: "b", Match: &routev3.RouteMatch{}}
	if err := Only(m, "name", "match", "stat_prefix"); err != nil {
		t.Error(err)
	}
	if err := Only(m, "stat_prefix", "match"); err == nil || err.Error() != "name: this proxy does not know it" {
		t.Error(err)
	}
	if err := Only((*routev3.Route)(nil)); err != nil {
		t.Error(err)
	}
}
