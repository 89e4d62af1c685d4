package fake

import (
	"testing"

	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

func TestContract(t *testing.T) {
	kernels := map[*testing.T]*Kernel{}
	Contract(t, func(t *testing.T) plan.Backend {
		if kernels[t] == nil {
			kernels[t] = NewKernel()
		}
		return kernels[t].Open()
	})
}
