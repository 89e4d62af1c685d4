package istio

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// qualify makes a name fully qualified and lower-case: one without a dot is a Service of the namespace. Addresses and "*" stay.
func (o Options) qualify(host, namespace string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "*" || strings.Contains(host, ".") || isAddress(host) {
		return host
	}
	return host + "." + namespace + ".svc." + o.Domain
}

// serviceNamespace gives the namespace of the Service that a fully qualified name would be, "" if it is no such name.
func (o Options) serviceNamespace(host string) string {
	name, ok := strings.CutSuffix(host, ".svc."+o.Domain)
	if !ok {
		return ""
	}
	_, namespace, ok := strings.Cut(name, ".")
	if !ok || strings.Contains(namespace, ".") {
		return ""
	}
	return namespace
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// wrongName says what is wrong with a DNS name, "" if nothing is. Istio asks for labels of RFC 1123, of which the last is no number.
func wrongName(name string) string {
	labels := strings.Split(strings.ToLower(name), ".")
	switch {
	case name == "":
		return "is empty"
	case len(name) > 253:
		return "is longer than 253 bytes"
	}
	for _, l := range labels {
		if len(validation.IsDNS1123Label(l)) > 0 {
			return "is no DNS name: label " + strconv.Quote(l)
		}
	}
	if _, err := strconv.Atoi(labels[len(labels)-1]); err == nil {
		return "is no DNS name: its last label is a number"
	}
	return ""
}

// wrongHost is wrongName for what may also be "*" or "*.suffix". Istio takes "*-suffix" in some places too, for which the model has no word.
func wrongHost(host string) string {
	if host == "*" {
		return ""
	}
	rest, wild := strings.CutPrefix(host, "*.")
	if !wild && strings.HasPrefix(host, "*") {
		return "has a wildcard that is not a whole label"
	}
	return wrongName(strings.TrimSuffix(rest, "."))
}

// covers tells whether every name that b stands for is one that a stands for.
func covers(a, b string) bool {
	if a == "*" || a == b {
		return true
	}
	suffix, wild := strings.CutPrefix(a, "*")
	return wild && b != "*" && strings.HasSuffix(strings.TrimPrefix(b, "*"), suffix)
}

// patterns lists what can stand for a host, the most specific first: itself, "*.suffix" with ever shorter suffixes, "*".
func patterns(host string) []string {
	out := []string{host}
	for rest := strings.TrimPrefix(host, "*."); ; {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		out, rest = append(out, "*."+after), after
	}
	if host != "*" {
		out = append(out, "*")
	}
	return out
}

// exports reads exportTo: the namespaces, sorted, or "*" alone. None means all. What cannot be read does not open anything.
func (s spot) exports(list []string, own string) []string {
	if len(list) == 0 {
		return []string{"*"}
	}
	var out []string
	for i, e := range list {
		at := s.at("exportTo", i)
		switch {
		case e == "*":
		case e == ".":
			e = own
		case len(validation.IsDNS1123Label(e)) > 0:
			at.errorf(codeExport, "%q is neither a namespace nor \".\" nor \"*\"; it is left out", e)
			continue
		}
		if slices.Contains(out, e) {
			at.warnf(codeDoubled, "%q is named before", list[i])
			continue
		}
		out = append(out, e)
	}
	if slices.Contains(out, "*") {
		return []string{"*"}
	}
	slices.Sort(out)
	return out
}

// visible tells whether what is exported so can be seen in a namespace.
func visible(exported []string, namespace string) bool {
	return slices.Contains(exported, "*") || slices.Contains(exported, namespace)
}
