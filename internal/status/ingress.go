package status

import (
	"encoding/json"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Addresses is what status.loadBalancer.ingress of a Service should list of weft's.
type Addresses struct {
	IPs []netip.Addr

	// Exclusive is true if every address there is weft's to remove, not only those that are known to be its own.
	Exclusive bool
}

func (a Addresses) equal(o Addresses) bool {
	return a.Exclusive == o.Exclusive && slices.Equal(a.IPs, o.IPs)
}

// ingress gives the list as it should be, and whether that is another one. Entries that are not weft's stay as and where they are.
func ingress(live []corev1.LoadBalancerIngress, want Addresses, ours func(netip.Addr) bool) (next []corev1.LoadBalancerIngress, changed bool) {
	missing := slices.Clone(want.IPs)
	vip := corev1.LoadBalancerIPModeVIP
	for _, entry := range live {
		ip, err := netip.ParseAddr(entry.IP)
		ip = ip.Unmap()
		if err != nil || !want.Exclusive && !ours(ip) {
			next = append(next, entry)
			continue
		}
		i := slices.Index(missing, ip)
		if i < 0 {
			changed = true
			continue
		}
		missing = slices.Delete(missing, i, i+1)
		if entry.IPMode != nil && *entry.IPMode != vip {
			entry.IPMode, changed = &vip, true
		}
		next = append(next, entry)
	}
	for _, ip := range missing {
		next = append(next, corev1.LoadBalancerIngress{IP: ip.String(), IPMode: &vip})
		changed = true
	}
	return next, changed
}

// ingressPatch is a JSON merge patch (RFC 7386) that an API server refuses if the object is not the one that was looked at.
func ingressPatch(live *metav1.ObjectMeta, next []corev1.LoadBalancerIngress) ([]byte, error) {
	type object = map[string]any
	var list any // null takes the field away
	if len(next) > 0 {
		list = next
	}
	return json.Marshal(object{
		"metadata": object{"resourceVersion": live.ResourceVersion, "uid": live.UID},
		"status":   object{"loadBalancer": object{"ingress": list}},
	})
}
