package cli

import (
	"net"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/internal/xds/resource"
)

// tracingFlags say where the spans of proxies go.
type tracingFlags struct {
	otlp    string
	percent float64
}

func (f *tracingFlags) define(fs *pflag.FlagSet) {
	fs.StringVar(&f.otlp, "tracing-otlp", "", "HOST:PORT of who takes the spans of proxies, by OTLP over gRPC (default: nobody)")
	fs.Float64Var(&f.percent, "tracing-sampling", 1, "per cent of the requests that are traced, of those that nobody has decided about yet")
}

func (f *tracingFlags) parse() (resource.Tracing, error) {
	if f.otlp == "" {
		return resource.Tracing{}, nil
	}
	host, port, err := net.SplitHostPort(f.otlp)
	if err != nil || host == "" {
		return resource.Tracing{}, badUsage("--tracing-otlp %q is not HOST:PORT", f.otlp)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return resource.Tracing{}, badUsage("--tracing-otlp %q: %q is no port number", f.otlp, port)
	}
	if !(f.percent >= 0 && f.percent <= 100) { // nor not a number
		return resource.Tracing{}, badUsage("--tracing-sampling %v is no percentage", f.percent)
	}
	return resource.Tracing{Host: host, Port: uint16(n), Percent: f.percent}, nil
}
