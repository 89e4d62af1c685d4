package model

import (
	"net/netip"
	"slices"
)

// Node is a machine of the cluster, as far as traffic cares.
type Node struct {
	Name      string
	Zone      string
	Addresses []netip.Addr   // InternalIPs, in the declared order
	PodCIDRs  []netip.Prefix // the addresses its Pods get, if the cluster says
	Ready     bool           // and has a network
	Leaving   bool           // being deleted, or about to be by the cluster autoscaler
	Foreign   bool           // of another operating system than Linux: weft does not run there
	Excluded  bool           // labelled node.kubernetes.io/exclude-from-external-load-balancers
}

// Equal tells whether two Nodes mean the same; a heartbeat changes nothing here.
func (n *Node) Equal(o *Node) bool {
	if n == o {
		return true
	}
	if n == nil || o == nil {
		return false
	}
	return n.Name == o.Name && n.Zone == o.Zone && slices.Equal(n.Addresses, o.Addresses) && slices.Equal(n.PodCIDRs, o.PodCIDRs) &&
		n.Ready == o.Ready && n.Leaving == o.Leaving && n.Excluded == o.Excluded && n.Foreign == o.Foreign
}
