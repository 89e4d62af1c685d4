package inject

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/weftmesh/weft/internal/redirect"
)

// settings are what a Pod's annotations say, or what the Config says where they say nothing.
type settings struct {
	native    bool
	hold      bool // of a plain container
	rewrite   bool
	redirects bool
	redirect  redirect.Config
	image     string
	resources corev1.ResourceRequirements
	level     string // of the proxy's log; "": its default
	drain     time.Duration
	envoy     string // the stock Envoy of the image that runs in place of weft's proxy; "": weft's
	env       []corev1.EnvVar
	readiness corev1.Probe // only its times
	merge     bool         // scraping the Pod is scraping the proxy
	warnings  []string
}

// reader reads annotations and remembers what was wrong.
type reader struct {
	of    map[string]string
	asked map[string]bool
	errs  []error
}

// text calls f with the value of an annotation that is there.
func (r *reader) text(name string, f func(string) error) {
	value, ok := r.of[name]
	r.asked[name] = true
	if !ok {
		return
	}
	if err := f(value); err != nil {
		r.errs = append(r.errs, fmt.Errorf("annotation %s: %s", name, strings.ReplaceAll(err.Error(), "\n", ", ")))
	}
}

// unknown gives the annotations for sidecars that nobody has asked for: those that weft does not carry, and those that are not written right.
func (r *reader) unknown() (names []string) {
	for name := range r.of {
		prefix, _, _ := strings.Cut(name, "/")
		switch prefix {
		case "sidecar.istio.io", "traffic.sidecar.istio.io", "status.sidecar.istio.io", "readiness.status.sidecar.istio.io", "proxy.istio.io", "inject.istio.io":
			if !r.asked[name] {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func read[T any](r *reader, name string, to *T, parse func(string) (T, error)) {
	r.text(name, func(value string) error {
		got, err := parse(value)
		if err == nil {
			*to = got
		}
		return err
	})
}

func (r *reader) bool(name string, to *bool) {
	read(r, name, to, func(v string) (bool, error) {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return false, fmt.Errorf("%q is neither true nor false", v)
		}
		return b, nil
	})
}

func (r *reader) number(name string, to *int32, least int32) {
	read(r, name, to, func(v string) (int32, error) {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || int32(n) < least {
			return 0, fmt.Errorf("%q is no number of at least %d", v, least)
		}
		return int32(n), nil
	})
}

// readSettings reads a Pod's annotations. The error names every one that says nothing that weft could do.
func readSettings(annotations map[string]string, c Config) (settings, error) {
	s := settings{
		native: c.NativeSidecars, hold: c.HoldApplication, rewrite: c.RewriteProbers, redirects: true, redirect: c.Redirect, image: c.Image, merge: true,
		readiness: corev1.Probe{InitialDelaySeconds: 0, PeriodSeconds: 15, FailureThreshold: 4},
		resources: corev1.ResourceRequirements{Requests: c.Requests},
	}
	r := &reader{of: annotations, asked: map[string]bool{InjectLabel: true, StatusAnnotation: true}}
	native := s.native
	if r.bool("sidecar.istio.io/nativeSidecar", &native); native && !s.native {
		s.warnings = append(s.warnings, "annotation sidecar.istio.io/nativeSidecar: this cluster has no native sidecars (Kubernetes 1.29), so the proxy is a plain container")
	} else {
		s.native = native
	}
	r.bool("sidecar.istio.io/rewriteAppHTTPProbers", &s.rewrite)
	r.bool("prometheus.istio.io/merge-metrics", &s.merge)
	r.text("sidecar.istio.io/interceptionMode", func(v string) error {
		switch v {
		case "REDIRECT", "NONE":
			s.redirects = v == "REDIRECT"
			return nil
		case "TPROXY":
			return errors.New("TPROXY is not carried; REDIRECT and NONE are")
		}
		return fmt.Errorf("%q is neither REDIRECT nor NONE", v)
	})
	r.text("inject.istio.io/templates", func(v string) error {
		if v != "sidecar" {
			return fmt.Errorf("%q: there is no template but sidecar", v)
		}
		return nil
	})
	r.text("status.sidecar.istio.io/port", func(v string) error {
		if v != "15020" {
			return fmt.Errorf("%q: the port is 15020 and cannot be changed", v)
		}
		return nil
	})
	r.redirect(&s.redirect)
	r.resources(&s.resources)
	r.number("readiness.status.sidecar.istio.io/initialDelaySeconds", &s.readiness.InitialDelaySeconds, 0)
	r.number("readiness.status.sidecar.istio.io/periodSeconds", &s.readiness.PeriodSeconds, 1)
	r.number("readiness.status.sidecar.istio.io/failureThreshold", &s.readiness.FailureThreshold, 1)
	read(r, "sidecar.istio.io/proxyImage", &s.image, func(v string) (string, error) {
		if v == "" || strings.ContainsAny(v, " \t\r\n") {
			return "", fmt.Errorf("%q is no image", v)
		}
		return v, nil
	})
	read(r, "sidecar.istio.io/logLevel", &s.level, logLevel)
	r.proxyConfig(&s)
	for _, name := range r.unknown() {
		s.warnings = append(s.warnings, "annotation "+name+" is not carried")
	}
	return s, errors.Join(r.errs...)
}

func (r *reader) redirect(c *redirect.Config) {
	const prefix = "traffic.sidecar.istio.io/"
	read(r, prefix+"includeInboundPorts", &c.InboundPorts, redirect.ParsePorts)
	read(r, prefix+"excludeInboundPorts", &c.ExcludeInbound, redirect.ParsePortList)
	read(r, prefix+"includeOutboundPorts", &c.OutboundPorts, redirect.ParsePortList)
	read(r, prefix+"excludeOutboundPorts", &c.ExcludeOutbound, redirect.ParsePortList)
	read(r, prefix+"includeOutboundIPRanges", &c.OutboundRanges, redirect.ParseRanges)
	read(r, prefix+"excludeOutboundIPRanges", &c.ExcludeRanges, redirect.ParseRanges)
	read(r, prefix+"excludeInterfaces", &c.ExcludeInterfaces, redirect.ParseInterfaces)
	for _, unknown := range []string{prefix + "kubevirtInterfaces", "istio.io/reroute-virtual-interfaces"} {
		r.text(unknown, func(string) error { return errors.New("weft does not carry the traffic of virtual machines in a Pod") })
	}
}

// resources replaces the default as a whole if any of the four is there, as Istio does.
func (r *reader) resources(to *corev1.ResourceRequirements) {
	got := corev1.ResourceRequirements{}
	any := false
	for _, a := range []struct {
		name string
		list *corev1.ResourceList
		of   corev1.ResourceName
	}{
		{"sidecar.istio.io/proxyCPU", &got.Requests, corev1.ResourceCPU}, {"sidecar.istio.io/proxyMemory", &got.Requests, corev1.ResourceMemory},
		{"sidecar.istio.io/proxyCPULimit", &got.Limits, corev1.ResourceCPU}, {"sidecar.istio.io/proxyMemoryLimit", &got.Limits, corev1.ResourceMemory},
	} {
		r.text(a.name, func(v string) error {
			q, err := resource.ParseQuantity(v)
			if err != nil || q.Sign() < 0 {
				return fmt.Errorf("%q is no quantity", v)
			}
			if *a.list == nil {
				*a.list = corev1.ResourceList{}
			}
			(*a.list)[a.of], any = q, true
			return nil
		})
	}
	if any {
		*to = got
	}
}

// logLevel reads a level of Envoy's as one of slog's.
func logLevel(v string) (string, error) {
	levels := map[string]string{
		"trace": "DEBUG", "debug": "DEBUG", "info": "INFO", "warning": "WARN", "warn": "WARN", "error": "ERROR", "critical": "ERROR", "off": "ERROR",
	}
	level, ok := levels[strings.ToLower(v)]
	if !ok {
		known := make([]string, 0, len(levels))
		for k := range levels {
			known = append(known, k)
		}
		slices.Sort(known)
		return "", fmt.Errorf("%q is not one of %s", v, strings.Join(known, ", "))
	}
	return level, nil
}
