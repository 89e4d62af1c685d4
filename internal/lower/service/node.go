package service

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
)

// taintLeaving is what the cluster autoscaler puts on a node that it is about to take away (KEP-3836).
const taintLeaving = "ToBeDeletedByClusterAutoscaler"

func lowerNode(n *corev1.Node, say report) *model.Node {
	if n == nil {
		return nil
	}
	at := finding.Object{Kind: "Node", Name: n.Name}
	out := &model.Node{Name: n.Name, Zone: n.Labels[corev1.LabelTopologyZone]}
	_, out.Excluded = n.Labels[corev1.LabelNodeExcludeBalancers]
	system := n.Labels[corev1.LabelOSStable]
	out.Foreign = system != "" && system != "linux"
	out.Leaving = n.DeletionTimestamp != nil
	for _, t := range n.Spec.Taints {
		out.Leaving = out.Leaving || t.Key == taintLeaving
	}
	ready, isolated := false, false
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady:
			ready = c.Status == corev1.ConditionTrue
		case corev1.NodeNetworkUnavailable:
			isolated = c.Status == corev1.ConditionTrue
		}
	}
	out.Ready = ready && !isolated
	for i, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		ip, err := netip.ParseAddr(a.Address)
		if err != nil {
			say.at(at, finding.Error, fmt.Sprintf("status.addresses[%d]", i), "invalid-address", fmt.Sprintf("%q is no address", a.Address))
			continue
		}
		out.Addresses = append(out.Addresses, ip.Unmap())
	}
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for i, c := range cidrs {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			say.at(at, finding.Error, fmt.Sprintf("spec.podCIDRs[%d]", i), "invalid-range", fmt.Sprintf("%q is no address range", c))
			continue
		}
		out.PodCIDRs = append(out.PodCIDRs, p.Masked())
	}
	return out
}
