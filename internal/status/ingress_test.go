package status

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var pool = netip.MustParsePrefix("10.0.0.0/24")

func inPool(a netip.Addr) bool {
	return pool.Contains(a) || netip.MustParsePrefix("fd00::/16").Contains(a)
}

func ips(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestIngress(t *testing.T) {
	vip, proxy := corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy
	at := func(ip string) corev1.LoadBalancerIngress { return corev1.LoadBalancerIngress{IP: ip, IPMode: &vip} }
	type list = []corev1.LoadBalancerIngress
	for _, c := range []struct {
		name    string
		live    list
		want    Addresses
		next    list
		changed bool
	}{
		{"first", nil, Addresses{IPs: ips("10.0.0.1", "fd00::1")}, list{at("10.0.0.1"), at("fd00::1")}, true},
		{"as it should be", list{at("fd00::1"), at("10.0.0.1")}, Addresses{IPs: ips("10.0.0.1", "fd00::1")}, list{at("fd00::1"), at("10.0.0.1")}, false},
		{"nothing to nothing", nil, Addresses{}, nil, false},
		{"withdrawn", list{at("10.0.0.1")}, Addresses{}, nil, true},
		{"replaced", list{at("10.0.0.1")}, Addresses{IPs: ips("10.0.0.2")}, list{at("10.0.0.2")}, true},
		{"others stay", list{{Hostname: "a.example.org"}, at("192.0.2.1"), at("10.0.0.1")}, Addresses{IPs: ips("10.0.0.2")}, list{{Hostname: "a.example.org"}, at("192.0.2.1"), at("10.0.0.2")}, true},
		{"only ours may be there", list{{Hostname: "a.example.org"}, at("192.0.2.1"), at("10.0.0.1")}, Addresses{IPs: ips("10.0.0.1"), Exclusive: true}, list{{Hostname: "a.example.org"}, at("10.0.0.1")}, true},
		{"twice", list{at("10.0.0.1"), at("10.0.0.1")}, Addresses{IPs: ips("10.0.0.1")}, list{at("10.0.0.1")}, true},
		{"another mode", list{{IP: "10.0.0.1", IPMode: &proxy}}, Addresses{IPs: ips("10.0.0.1")}, list{at("10.0.0.1")}, true},
		{"nonsense stays", list{{IP: "010.0.0.1"}}, Addresses{}, list{{IP: "010.0.0.1"}}, false},
		{"another spelling", list{at("fd00:0::1")}, Addresses{IPs: ips("fd00::1")}, list{at("fd00:0::1")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			next, changed := ingress(c.live, c.want, inPool)
			if d := cmp.Diff(c.next, next); d != "" || changed != c.changed {
				t.Errorf("changed %v, want %v; %s", changed, c.changed, d)
			}
			if again, changed := ingress(next, c.want, inPool); changed {
				t.Errorf("written again: %v", again)
			}
		})
	}
}

func TestIngressPatch(t *testing.T) {
	live := &metav1.ObjectMeta{ResourceVersion: "7", UID: "u"}
	for _, c := range []struct {
		next []corev1.LoadBalancerIngress
		want string
	}{
		{nil, `{"metadata":{"resourceVersion":"7","uid":"u"},"status":{"loadBalancer":{"ingress":null}}}`},
		{[]corev1.LoadBalancerIngress{{IP: "10.0.0.1"}}, `{"metadata":{"resourceVersion":"7","uid":"u"},"status":{"loadBalancer":{"ingress":[{"ip":"10.0.0.1"}]}}}`},
	} {
		got, err := ingressPatch(live, c.next)
		if err != nil || !json.Valid(got) || string(got) != c.want {
			t.Errorf("%s, %v", got, err)
		}
	}
}
