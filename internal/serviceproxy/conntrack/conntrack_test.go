package conntrack

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/serviceproxy/plan"
)

func frontend(proto model.Protocol, dial string, endpoints ...string) *plan.Frontend {
	at := netip.MustParseAddrPort(dial)
	f := &plan.Frontend{Key: plan.Key{Addr: at.Addr(), Family: plan.FamilyOf(at.Addr()), Protocol: proto, Port: at.Port()}}
	for _, e := range endpoints {
		f.Endpoints = append(f.Endpoints, netip.MustParseAddrPort(e))
	}
	return f
}

func nodePort(port uint16, endpoints ...string) *plan.Frontend {
	f := frontend(model.UDP, "10.0.0.1:1", endpoints...)
	f.Key = plan.Key{Family: plan.IPv4, Protocol: model.UDP, Port: port}
	f.Kind = plan.NodePort
	return f
}

func local(f *plan.Frontend, endpoints ...string) *plan.Frontend {
	f.ExternalLocal = true
	for _, e := range endpoints {
		f.Local = append(f.Local, netip.MustParseAddrPort(e))
	}
	return f
}

func serving(f *plan.Frontend, endpoints ...string) *plan.Frontend {
	for _, e := range endpoints {
		f.Serving = append(f.Serving, netip.MustParseAddrPort(e))
	}
	return f
}

func TestAffected(t *testing.T) {
	const vip, a, b = "10.96.0.10:53", "10.1.0.1:53", "10.1.0.2:53"
	udp := func(endpoints ...string) *plan.Frontend { return frontend(model.UDP, vip, endpoints...) }
	for name, c := range map[string]struct {
		before, after *plan.Frontend
		want          bool
	}{
		"nothing":                   {nil, nil, false},
		"appears with an endpoint":  {nil, udp(a), true},
		"appears empty":             {nil, udp(), false},
		"first endpoint":            {udp(), udp(a), true},
		"second endpoint":           {udp(a), udp(a, b), false},
		"endpoint goes":             {udp(a, b), udp(a), true},
		"endpoint replaced":         {udp(a), udp(b), true},
		"last endpoint goes":        {udp(a), udp(), true},
		"same":                      {udp(a, b), udp(a, b), false},
		"goes":                      {udp(a), nil, true},
		"goes empty":                {udp(), nil, false},
		"local endpoint goes":       {local(udp(a), b), udp(a), true},
		"only its place changes":    {udp(a, b), local(udp(a), b), false},
		"first one is local":        {udp(), local(udp(), a), true},
		"one drains":                {serving(udp(a, b), a, b), serving(udp(b), a, b), false},
		"one has drained":           {serving(udp(b), a, b), serving(udp(b), b), true},
		"the last one drains":       {serving(udp(a), a), serving(udp(), a), false},
		"SCTP endpoint goes":        {frontend(model.SCTP, vip, a), frontend(model.SCTP, vip), true},
		"TCP endpoint goes":         {frontend(model.TCP, vip, a), frontend(model.TCP, vip), false},
		"TCP appears":               {nil, frontend(model.TCP, vip, a), false},
		"TCP goes":                  {frontend(model.TCP, vip, a), nil, false},
		"port of endpoint replaced": {udp("10.1.0.1:53"), udp("10.1.0.1:54"), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Affected(c.before, c.after); got != c.want {
				t.Errorf("Affected = %v, want %v", got, c.want)
			}
		})
	}
}

func TestStale(t *testing.T) {
	sel := newSelection(&plan.Diff{
		Set: []*plan.Frontend{
			frontend(model.UDP, "10.96.0.10:53", "10.1.0.1:53"),
			frontend(model.UDP, "10.96.0.11:53"),
			frontend(model.UDP, "[fd00::10]:53", "[fd01::1]:53"),
			frontend(model.TCP, "10.96.0.10:53", "10.1.0.1:53"),
			local(frontend(model.UDP, "10.96.0.13:53", "10.1.0.1:53"), "10.1.0.9:53"),
			nodePort(30053, "10.1.0.1:53"),
			serving(frontend(model.UDP, "10.96.0.14:53", "10.1.0.1:53"), "10.1.0.1:53", "10.1.0.2:53"),
			serving(frontend(model.UDP, "10.96.0.15:53"), "10.1.0.2:53"),
		},
		Delete: []plan.Key{frontend(model.UDP, "10.96.0.12:53").Key, nodePort(30054).Key},
	})
	sel.local = map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true}
	for _, c := range []struct {
		name             string
		dialled, answers string
		proto            model.Protocol
		want             bool
	}{
		{"leads to an endpoint", "10.96.0.10:53", "10.1.0.1:53", model.UDP, false},
		{"leads to a gone endpoint", "10.96.0.10:53", "10.1.0.2:53", model.UDP, true},
		{"leads to another port", "10.96.0.10:53", "10.1.0.1:54", model.UDP, true},
		{"began before there was an endpoint", "10.96.0.10:53", "10.96.0.10:53", model.UDP, true},
		{"another port of the address", "10.96.0.10:54", "10.1.0.2:53", model.UDP, false},
		{"TCP", "10.96.0.10:53", "10.1.0.2:53", model.TCP, false},
		{"no endpoints, translated", "10.96.0.11:53", "10.1.0.2:53", model.UDP, true},
		{"no endpoints, not translated", "10.96.0.11:53", "10.96.0.11:53", model.UDP, false},
		{"frontend gone, translated", "10.96.0.12:53", "10.1.0.2:53", model.UDP, true},
		{"frontend gone, not translated", "10.96.0.12:53", "10.96.0.12:53", model.UDP, false},
		{"local endpoint", "10.96.0.13:53", "10.1.0.9:53", model.UDP, false},
		{"leads to one that drains", "10.96.0.14:53", "10.1.0.2:53", model.UDP, false},
		{"leads to none of those that serve", "10.96.0.14:53", "10.1.0.3:53", model.UDP, true},
		{"no new flows, leads to one that serves", "10.96.0.15:53", "10.1.0.2:53", model.UDP, false},
		{"no new flows, leads elsewhere", "10.96.0.15:53", "10.1.0.3:53", model.UDP, true},
		{"IPv6 endpoint", "[fd00::10]:53", "[fd01::1]:53", model.UDP, false},
		{"IPv6 gone endpoint", "[fd00::10]:53", "[fd01::2]:53", model.UDP, true},
		{"node port, gone endpoint", "192.0.2.1:30053", "10.1.0.2:53", model.UDP, true},
		{"node port, endpoint", "192.0.2.1:30053", "10.1.0.1:53", model.UDP, false},
		{"node port gone", "192.0.2.1:30054", "10.1.0.1:53", model.UDP, true},
		{"same port of another machine", "192.0.2.2:30053", "10.1.0.2:53", model.UDP, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flow{c.proto, netip.MustParseAddrPort(c.dialled), netip.MustParseAddrPort(c.answers)}
			if got := sel.stale(f); got != c.want {
				t.Errorf("stale = %v, want %v", got, c.want)
			}
		})
	}
	want := []table{{plan.IPv4, model.UDP}, {plan.IPv6, model.UDP}}
	if got := sel.tables(); !slices.Equal(got, want) {
		t.Errorf("tables = %v, want %v", got, want)
	}
}
