package command

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/internal/redirect"
)

// What a Config says as flags is what the flags say.
func TestFlagsSayWhatAConfigSays(t *testing.T) {
	for _, want := range []redirect.Config{
		redirect.Default(),
		{
			Outbound: 1, Inbound: 2, ProxyUID: 3, ProxyGID: 4,
			InboundPorts: redirect.Ports{List: []uint16{80, 443}}, ExcludeInbound: []uint16{9090},
			OutboundRanges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
			ExcludeRanges:  []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
			OutboundPorts:  []uint16{6379}, ExcludeOutbound: []uint16{3306, 5432}, ExcludeInterfaces: []string{"net1", "net2"},
		},
		{Outbound: 1, Inbound: 2, ProxyUID: 3, ProxyGID: 4}, // nothing is turned
	} {
		got := redirect.Default()
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags(fs, &got)
		if err := fs.Parse(want.Args()); err != nil {
			t.Fatalf("%q: %v", want.Args(), err)
		}
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
			t.Errorf("%q: %s", want.Args(), d)
		}
	}
	if args := redirect.Default().Args(); len(args) != 0 {
		t.Errorf("the default has flags: %q", args)
	}
}

func TestBadFlags(t *testing.T) {
	for _, arg := range []string{
		"--exclude-inbound-ports=http", "--exclude-inbound-ports=0", "--exclude-outbound-ports=65536", "--include-inbound-ports=80,*",
		"--include-outbound-ranges=10.0.0.0/33", "--exclude-outbound-ranges=::ffff:10.0.0.0/104", "--exclude-interfaces=a/b",
		"--exclude-interfaces=sixteen-letters!", "--proxy-uid=-1",
	} {
		c := redirect.Default()
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags(fs, &c)
		if err := fs.Parse([]string{arg}); err == nil {
			t.Errorf("%s is taken", arg)
		}
	}
}
