package install

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Discover fills in what the options leave open and the cluster knows: the addresses of the API servers (they publish them as the endpoints
// of Service default/kubernetes), the ranges of Services (ServiceCIDR objects, Kubernetes 1.33), and the addresses of cluster DNS (those of
// the present kube-dns, else the tenth of each range of Services, which kubeadm and most others use). What it does not find stays open.
func (i *Installer) Discover(ctx context.Context, o Options) (Options, error) {
	if len(o.APIServers) == 0 {
		servers, err := i.apiServers(ctx)
		if err != nil {
			return o, err
		}
		o.APIServers = servers
	}
	if len(o.ServiceCIDRs) == 0 {
		ranges, err := i.serviceCIDRs(ctx)
		if err != nil {
			return o, err
		}
		o.ServiceCIDRs = ranges
	}
	if len(o.ClusterDNS) == 0 {
		addrs, err := i.clusterDNS(ctx, o.ServiceCIDRs)
		if err != nil {
			return o, err
		}
		o.ClusterDNS = addrs
	}
	return o, nil
}

func (i *Installer) apiServers(ctx context.Context) (servers []string, err error) {
	list, err := i.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"})
	if err != nil {
		return nil, fmt.Errorf("endpoints of Service default/kubernetes: %w", err)
	}
	for _, s := range list.Items {
		for _, p := range s.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != "https" {
				continue
			}
			for _, e := range s.Endpoints {
				for _, a := range e.Addresses {
					servers = append(servers, "https://"+net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	slices.Sort(servers)
	return slices.Compact(servers), nil
}

func (i *Installer) serviceCIDRs(ctx context.Context) (ranges []string, err error) {
	list, err := i.client.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list ServiceCIDRs: %w", err)
	}
	for _, s := range list.Items {
		ranges = append(ranges, s.Spec.CIDRs...)
	}
	return ranges, nil
}

func (i *Installer) clusterDNS(ctx context.Context, ranges []string) (addrs []string, err error) {
	s, err := i.client.CoreV1().Services(DNSNamespace).Get(ctx, dnsServiceName, metav1.GetOptions{})
	if err == nil {
		return s.Spec.ClusterIPs, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read Service %s/%s: %w", DNSNamespace, dnsServiceName, err)
	}
	for _, r := range ranges {
		p, err := netip.ParsePrefix(r)
		if err != nil {
			continue
		}
		a := p.Masked().Addr()
		for range 10 {
			a = a.Next()
		}
		if p.Contains(a) && !slices.ContainsFunc(addrs, func(s string) bool { return netip.MustParseAddr(s).Is4() == a.Is4() }) {
			addrs = append(addrs, a.String())
		}
	}
	return addrs, nil
}
