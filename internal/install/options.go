package install

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The components, in the order in which they come up: the node makes Service addresses work, DNS makes names work, control needs neither and comes
// when its objects can be told of, and the gateway is configured by control.
const (
	Node    = "node"
	DNS     = "dns"
	Control = "control"
	Gateway = "gateway"
)

// Components gives all components in the order in which they come up.
func Components() []string { return []string{Node, DNS, Control, Gateway} }

// Options say what is installed and how. The zero value of a field that is not marked as needed has the default that is named.
type Options struct {
	Namespace  string            // "weft-system"
	Image      string            // needed; its entrypoint is weft
	PullPolicy corev1.PullPolicy // IfNotPresent
	Components []string          // all

	// APIServers are addresses that work without a Service proxy, like "https://10.0.0.1:6443". Needed: the node is what makes the
	// cluster's own address work.
	APIServers []string

	ClusterDomain string   // "cluster.local"
	ClusterDNS    []string // needed for DNS: the addresses kubelets give to Pods as their resolver, at most one of each family
	DNSForward    []string // resolvers for other names, ADDRESS[:PORT]; default: those of the node that the Pod runs on
	DNSReplicas   int32    // 2
	ReplaceDNS    bool     // take over kube-system/kube-dns though somebody else made it

	ClusterCIDRs []string // ranges of Pods; what comes from elsewhere to a ClusterIP is masqueraded
	ServiceCIDRs []string // ranges of Services; what has no Service there is refused at once
	LBPools      []string // ranges "a-b", prefixes or addresses for LoadBalancer Services; none: nobody gives them out

	// What proxies do, as control tells them.
	OutboundPolicy  string   // what sidecars do with destinations that the mesh does not know: OutboundAllowAny or OutboundRegistryOnly; "ALLOW_ANY"
	AccessLog       bool     // sidecars write a line for each request and connection, as gateways do
	TracingOTLP     string   // HOST:PORT of who takes the spans of proxies; "": nobody
	TracingSampling *float64 // per cent of the requests that are traced; nil: 1

	ControlReplicas int32  // 2
	GatewayReplicas int32  // 2
	LogLevel        string // "INFO"
}

// The policies for destinations that the mesh does not know.
const (
	OutboundAllowAny     = "ALLOW_ANY"
	OutboundRegistryOnly = "REGISTRY_ONLY"
)

// complete gives the options with their defaults.
func (o Options) complete() Options {
	set(&o.Namespace, "weft-system")
	set(&o.PullPolicy, corev1.PullIfNotPresent)
	set(&o.ClusterDomain, "cluster.local")
	set(&o.DNSReplicas, 2)
	set(&o.OutboundPolicy, OutboundAllowAny)
	set(&o.ControlReplicas, 2)
	set(&o.GatewayReplicas, 2)
	set(&o.LogLevel, "INFO")
	if len(o.Components) == 0 {
		o.Components = Components()
	}
	return o
}

func set[V comparable](field *V, value V) {
	var zero V
	if *field == zero {
		*field = value
	}
}

// has tells whether a component is to be installed.
func (o Options) has(component string) bool { return slices.Contains(o.Components, component) }

// Validate says everything that is wrong, each line naming the flag of weft install.
func (o Options) Validate() error {
	o = o.complete()
	v := &validator{}
	v.check("--weft-namespace", validation.IsDNS1123Label(o.Namespace)...)
	if o.Image == "" {
		v.say("--image", "must name the image to run")
	} else if strings.ContainsAny(o.Image, " \t\n") {
		v.say("--image", "%q is no image", o.Image)
	}
	if !slices.Contains([]corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever}, o.PullPolicy) {
		v.say("--image-pull-policy", "%q is not one of Always, IfNotPresent, Never", o.PullPolicy)
	}
	for i, c := range o.Components {
		if !slices.Contains(Components(), c) {
			v.say("--components", "%q is not one of %s", c, strings.Join(Components(), ", "))
		} else if slices.Contains(o.Components[:i], c) {
			v.say("--components", "%s stands twice", c)
		}
	}
	if len(o.APIServers) == 0 {
		v.say("--api-server", "must say where the API server is, without its Service address")
	}
	for _, s := range o.APIServers {
		if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
			v.say("--api-server", "%q is not an address like https://10.0.0.1:6443", s)
		}
	}
	v.check("--cluster-domain", validation.IsDNS1123Subdomain(o.ClusterDomain)...)
	v.dns(o)
	v.prefixes("--cluster-cidr", o.ClusterCIDRs)
	v.prefixes("--service-cidr", o.ServiceCIDRs)
	for _, service := range o.ServiceCIDRs {
		sameFamily := func(c string) bool { return strings.Contains(c, ":") == strings.Contains(service, ":") }
		if len(o.ClusterCIDRs) > 0 && o.has(Node) && !slices.ContainsFunc(o.ClusterCIDRs, sameFamily) {
			v.say("--cluster-cidr", "has no range of the family of --service-cidr %s: Pods would count as clients from outside, and their addresses be hidden", service)
		}
	}
	for _, p := range o.LBPools {
		if !validPool(p) {
			v.say("--lb-pool", "%q is neither a range a-b, nor a prefix, nor an address", p)
		}
	}
	v.proxies(o)
	if o.DNSReplicas < 1 {
		v.say("--dns-replicas", "must be at least 1")
	}
	if o.ControlReplicas < 1 {
		v.say("--control-replicas", "must be at least 1")
	}
	if !slices.Contains([]string{"DEBUG", "INFO", "WARN", "ERROR"}, strings.ToUpper(o.LogLevel)) {
		v.say("--log-level", "%q is not one of DEBUG, INFO, WARN, ERROR", o.LogLevel)
	}
	return errors.Join(v.errs...)
}

type validator struct{ errs []error }

func (v *validator) say(flag, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(flag+": "+format, args...))
}

func (v *validator) check(flag string, wrongs ...string) {
	for _, w := range wrongs {
		v.say(flag, "%s", w)
	}
}

func (v *validator) prefixes(flag string, in []string) {
	for _, s := range in {
		if p, err := netip.ParsePrefix(s); err != nil {
			v.say(flag, "%q is no address range", s)
		} else if p != p.Masked() {
			v.say(flag, "%q has bits beyond its length; %s is meant?", s, p.Masked())
		}
	}
}

func (v *validator) proxies(o Options) {
	if !slices.Contains([]string{OutboundAllowAny, OutboundRegistryOnly}, o.OutboundPolicy) {
		v.say("--outbound-policy", "%q is not one of %s, %s", o.OutboundPolicy, OutboundAllowAny, OutboundRegistryOnly)
	}
	if o.TracingOTLP != "" {
		host, port, err := net.SplitHostPort(o.TracingOTLP)
		if n, wrong := strconv.ParseUint(port, 10, 16); err != nil || host == "" || strings.ContainsAny(host, " ,\t\n") || wrong != nil || n == 0 {
			v.say("--tracing-otlp", "%q is not HOST:PORT", o.TracingOTLP)
		}
	}
	if p := o.TracingSampling; p != nil {
		switch {
		case !(*p >= 0 && *p <= 100): // nor not a number
			v.say("--tracing-sampling", "%v is not a percentage from 0 to 100", *p)
		case o.TracingOTLP == "":
			v.say("--tracing-sampling", "has no effect without --tracing-otlp")
		}
	}
}

func (v *validator) dns(o Options) {
	if !o.has(DNS) {
		return
	}
	if len(o.ClusterDNS) == 0 {
		v.say("--cluster-dns", "must be the address that kubelets give to Pods as their resolver")
	}
	families := map[bool]bool{}
	for _, s := range o.ClusterDNS {
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil || a.Zone() != "" || a.Is4In6():
			v.say("--cluster-dns", "%q is no address", s)
		case families[a.Is4()]:
			v.say("--cluster-dns", "%s is a second address of its family", s)
		default:
			families[a.Is4()] = true
		}
	}
	for _, s := range o.DNSForward {
		if _, err := netip.ParseAddr(s); err != nil {
			if _, err := netip.ParseAddrPort(s); err != nil {
				v.say("--dns-forward", "%q is neither an address nor ADDRESS:PORT", s)
			}
		}
	}
}

func validPool(s string) bool {
	if first, last, isRange := strings.Cut(s, "-"); isRange {
		a, err1 := netip.ParseAddr(first)
		b, err2 := netip.ParseAddr(last)
		return err1 == nil && err2 == nil && a.Is4() == b.Is4() && a.Compare(b) <= 0
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}
