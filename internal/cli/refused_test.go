package cli

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

func TestRefusedFrontendIsAFindingOnItsService(t *testing.T) {
	web := finding.Object{Kind: "Service", Namespace: "shop", Name: "web"}
	r := &refusals{node: "n1"}
	r.set([]serviceproxy.Refused{{
		Frontend: &plan.Frontend{
			Key:    plan.Key{Addr: netip.MustParseAddr("10.96.0.7"), Family: plan.IPv4, Protocol: model.TCP, Port: 80},
			Origin: model.Origin{Object: web, Field: "spec.ports[0]"},
		},
		Err: errors.New("no space left on device"),
	}})
	want := []finding.Finding{{Object: web, Field: "spec.ports[0]", Severity: finding.Error, Code: "kernel-refused",
		Message: "10.96.0.7 TCP 80 is not carried on node n1: no space left on device"}}
	if d := cmp.Diff(want, r.findings()); d != "" {
		t.Error("(-want +got)\n" + d)
	}
	r.set(nil)
	if got := r.findings(); len(got) != 0 {
		t.Errorf("taken back, and still %v", got)
	}
}
