package tls

import (
	"crypto/x509"
	"errors"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/match"
)

// nameMatcher is a matcher of one kind of subject alternative name, or of all.
type nameMatcher struct {
	kind  tlsv3.SubjectAltNameMatcher_SanType // unspecified: any kind
	value match.String
	exact string // of a DNS matcher: what a wildcard in the certificate may stand for
}

func newNameMatchers(m *tlsv3.CertificateValidationContext) (out []nameMatcher, err error) {
	for i, typed := range m.GetMatchTypedSubjectAltNames() {
		n, err := newNameMatcher(typed.GetSanType(), typed.GetMatcher())
		if err != nil {
			return nil, field.At("match_typed_subject_alt_names", i, err)
		}
		out = append(out, n)
	}
	if len(out) > 0 {
		return out, nil // the deprecated field counts only without the other
	}
	//nolint:staticcheck // deprecated, and still sent
	for i, text := range m.GetMatchSubjectAltNames() {
		n, err := newNameMatcher(tlsv3.SubjectAltNameMatcher_SAN_TYPE_UNSPECIFIED, text)
		if err != nil {
			return nil, field.At("match_subject_alt_names", i, err)
		}
		out = append(out, n)
	}
	return out, nil
}

func newNameMatcher(kind tlsv3.SubjectAltNameMatcher_SanType, m *matcherv3.StringMatcher) (n nameMatcher, err error) {
	if kind == tlsv3.SubjectAltNameMatcher_OTHER_NAME {
		return n, field.In("san_type", errors.New("OTHER_NAME is not known to this proxy"))
	}
	n = nameMatcher{kind: kind}
	n.value, err = match.NewString(m)
	if exact, ok := m.GetMatchPattern().(*matcherv3.StringMatcher_Exact); ok && kind == tlsv3.SubjectAltNameMatcher_DNS {
		n.exact = exact.Exact
	}
	return n, field.In("matcher", err)
}

func (n *nameMatcher) match(kind tlsv3.SubjectAltNameMatcher_SanType, name string) bool {
	if n.kind != tlsv3.SubjectAltNameMatcher_SAN_TYPE_UNSPECIFIED && n.kind != kind {
		return false
	}
	return n.value.Match(name) || kind == tlsv3.SubjectAltNameMatcher_DNS && n.exact != "" && coversName(name, n.exact)
}

// coversName tells whether a name with a wildcard as its first label stands for another (RFC 9525 section 6.3).
func coversName(pattern, name string) bool {
	suffix, ok := strings.CutPrefix(pattern, "*.")
	label, rest, dotted := strings.Cut(name, ".")
	return ok && dotted && label != "" && match.EqualFold(suffix, rest)
}

func matchesAny(ns []nameMatcher, leaf *x509.Certificate) bool {
	found := false
	eachName(leaf, func(kind tlsv3.SubjectAltNameMatcher_SanType, name string) {
		for i := range ns {
			found = found || ns[i].match(kind, name)
		}
	})
	return found
}

func eachName(leaf *x509.Certificate, f func(tlsv3.SubjectAltNameMatcher_SanType, string)) {
	for _, u := range leaf.URIs {
		f(tlsv3.SubjectAltNameMatcher_URI, u.String())
	}
	for _, d := range leaf.DNSNames {
		f(tlsv3.SubjectAltNameMatcher_DNS, d)
	}
	for _, ip := range leaf.IPAddresses {
		f(tlsv3.SubjectAltNameMatcher_IP_ADDRESS, ip.String())
	}
	for _, e := range leaf.EmailAddresses {
		f(tlsv3.SubjectAltNameMatcher_EMAIL, e)
	}
}

// namesOf is for an error that a person reads.
func namesOf(leaf *x509.Certificate) string {
	var all []string
	eachName(leaf, func(_ tlsv3.SubjectAltNameMatcher_SanType, name string) { all = append(all, name) })
	if len(all) == 0 {
		return "no name at all"
	}
	return strings.Join(all, ", ")
}
