package nftables_test

import (
	"testing"

	"github.com/weftmesh/weft/internal/serviceproxy/behaviour"
	"github.com/weftmesh/weft/internal/serviceproxy/nftables"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

func TestBehaviour(t *testing.T) {
	behaviour.Run(t, func(t *testing.T, node *behaviour.NetNS, cfg plan.Config) plan.Backend {
		b, err := nftables.New(cfg, nftables.Options{NetNS: node.FD()})
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}
