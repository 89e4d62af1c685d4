package network

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddressesReadAlikeInBothFamilies(t *testing.T) {
	p, err := New(12)
	if err != nil {
		t.Fatal(err)
	}
	type machine struct{ Addresses, Pods []string }
	got := map[string]machine{}
	for _, h := range append([]Host{p.ControlPlane, p.Outside}, p.Nodes[0], p.Nodes[11]) {
		var m machine
		for _, a := range h.Addresses {
			m.Addresses = append(m.Addresses, a.String())
		}
		for _, r := range h.PodCIDRs {
			m.Pods = append(m.Pods, r.String())
		}
		got[h.Name] = m
	}
	want := map[string]machine{
		"control-plane": {Addresses: []string{"10.89.0.2/24", "fd89::2/64"}},
		"outside":       {Addresses: []string{"10.89.0.100/24", "fd89::100/64"}},
		"node-1":        {Addresses: []string{"10.89.0.11/24", "fd89::11/64"}, Pods: []string{"10.244.1.0/24", "fd44:0:0:1::/64"}},
		"node-12":       {Addresses: []string{"10.89.0.22/24", "fd89::22/64"}, Pods: []string{"10.244.12.0/24", "fd44:0:0:c::/64"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNothingOverlaps(t *testing.T) {
	p, err := New(MaxNodes)
	if err != nil {
		t.Fatal(err)
	}
	owner := map[netip.Addr]string{}
	claim := func(name string, ips []netip.Addr) {
		for _, ip := range ips {
			if other, taken := owner[ip]; taken {
				t.Errorf("%s and %s are both %s", other, name, ip)
			}
			owner[ip] = name
			for _, pool := range p.LoadBalancers {
				if ip.Is4() == pool.From.Is4() && !ip.Less(pool.From) && !pool.To.Less(ip) {
					t.Errorf("%s of %s lies in the pool %s", ip, name, pool)
				}
			}
			if p.InCluster(ip) {
				t.Errorf("%s of %s lies in a cluster range", ip, name)
			}
		}
	}
	claim(Router, p.Router)
	for _, h := range append([]Host{p.ControlPlane, p.Outside}, p.Nodes...) {
		claim(h.Name, h.IPs())
	}
	for _, pool := range p.LoadBalancers {
		if !p.NodeCIDRs[0].Contains(pool.From) && !p.NodeCIDRs[1].Contains(pool.From) {
			t.Errorf("pool %s is not of the nodes' network", pool)
		}
	}
}

func TestNumberOfNodesIsChecked(t *testing.T) {
	for _, n := range []int{-1, 0, MaxNodes + 1} {
		if _, err := New(n); err == nil {
			t.Errorf("%d nodes were planned", n)
		}
	}
}

func TestRangeText(t *testing.T) {
	for _, pool := range pools {
		text, err := json.Marshal(pool)
		if err != nil {
			t.Fatal(err)
		}
		var back Range
		if err := json.Unmarshal(text, &back); err != nil || back != pool {
			t.Errorf("%s became %v: %v", text, back, err)
		}
	}
	for _, bad := range []string{`""`, `"10.0.0.1"`, `"10.0.0.1-x"`, `"-10.0.0.1"`} {
		var r Range
		if err := json.Unmarshal([]byte(bad), &r); err == nil {
			t.Errorf("%s was read as %v", bad, r)
		}
	}
}
