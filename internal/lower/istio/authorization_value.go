package istio

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weftmesh/weft/internal/model"
)

// condition reads what an attribute is compared with.
func (x *ruleReader) condition(a model.Attribute, at spot, field, not string, values, notValues []string) model.Condition {
	out := model.Condition{Attribute: a, Values: x.patterns(a, at, field, values), NotValues: x.patterns(a, at, not, notValues), Origin: at.in(field).where}
	if len(values) == 0 {
		out.Origin = at.in(not).where
	}
	return out
}

func (x *ruleReader) patterns(a model.Attribute, at spot, field string, list []string) (out []model.Pattern) {
	for i, text := range list {
		spot := at.at(field, i)
		p, wrong := x.pattern(a, text)
		if wrong != "" {
			x.wrong(spot, codeMatch, "%q %s", text, wrong)
			continue
		}
		out = append(out, p)
		doubt(a, text, spot)
	}
	return out
}

// pattern reads one value; wrong says why it cannot be.
func (x *ruleReader) pattern(a model.Attribute, text string) (p model.Pattern, wrong string) {
	if text == "" {
		return p, "is empty"
	}
	switch a {
	case model.AttributePrincipal:
		return model.MakePattern(x.opts.localTrustDomain(text)), ""
	case model.AttributeRequestPrincipal:
		return model.Pattern{Kind: model.PatternToken, Text: text}, ""
	case model.AttributeNamespace:
		if strings.Contains(text, "*") {
			return model.Pattern{Kind: model.PatternGlob, Text: text}, ""
		}
		return model.Pattern{Text: text}, ""
	case model.AttributeAccount:
		return x.account(text)
	case model.AttributeSourceIP, model.AttributeRemoteIP, model.AttributeDestinationIP:
		return block(text)
	case model.AttributePort:
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return p, "is no port number"
		}
		return model.Pattern{Kind: model.PatternPort, Text: text, Port: uint16(n)}, ""
	case model.AttributePath:
		return pathPattern(text)
	}
	return model.MakePattern(text), ""
}

// account reads "NAME", of the policy's namespace, or "NAMESPACE/NAME".
func (x *ruleReader) account(text string) (p model.Pattern, wrong string) {
	namespace, name, both := strings.Cut(text, "/")
	if !both {
		namespace, name = x.namespace, text
	}
	if len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return p, "is neither a service account nor NAMESPACE/ACCOUNT"
	}
	return model.Pattern{Text: namespace + "/" + name}, ""
}

// block reads an address or a CIDR.
func block(text string) (p model.Pattern, wrong string) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return p, "is neither an address nor a block of them"
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	return model.Pattern{Kind: model.PatternBlock, Text: text, Block: prefix.Masked()}, ""
}

const (
	oneSegment  = "{*}"
	anySegments = "{**}"
)

// templateSegment is what a segment of a template may be besides {*} and {**}: characters of RFC 3986's pchar.
var templateSegment = regexp.MustCompile(`^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$`)

// pathPattern reads a path with a star at one end, or a template. Envoy rejects a whole listener with a template that is none.
func pathPattern(text string) (p model.Pattern, wrong string) {
	if !strings.Contains(text, oneSegment) && !strings.Contains(text, anySegments) {
		if strings.ContainsAny(text, "{}") {
			return p, "has a brace that belongs to neither {*} nor {**}"
		}
		return model.MakePattern(text), ""
	}
	rest, rooted := strings.CutPrefix(text, "/")
	if !rooted {
		return p, "is a template that does not begin with a slash"
	}
	open := true
	for s := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), "/") {
		switch {
		case s == oneSegment || s == anySegments:
			if !open {
				return p, "has an operator behind {**}"
			}
			open = s == oneSegment
		case !templateSegment.MatchString(s):
			return p, fmt.Sprintf("has a segment %q that no path has", s)
		}
	}
	return model.Pattern{Kind: model.PatternTemplate, Text: text}, ""
}

// doubt says what its author can hardly have meant.
func doubt(a model.Attribute, text string, at spot) {
	rest, inFront := strings.CutPrefix(text, "*")
	if !inFront {
		rest = strings.TrimSuffix(text, "*")
	}
	switch {
	case a == model.AttributePrincipal && strings.HasPrefix(text, spiffeScheme):
		at.warnf(codeNoEffect, "principals are written without %s; nobody is called so", spiffeScheme)
	case a != model.AttributeNamespace && strings.Contains(rest, "*") && !strings.ContainsAny(rest, "{}"):
		at.warnf(codeMatch, "only one star, in front or behind, stands for anything; any other is a star")
	}
}

const spiffeScheme = "spiffe://"

// localTrustDomain makes a principal of cluster.local, which is every cluster's word for itself, one of the cluster's own trust domain.
func (o Options) localTrustDomain(principal string) string {
	parts := strings.Split(principal, "/")
	if len(parts) == 5 && parts[0] == defaultTrustDomain {
		parts[0] = o.TrustDomain
	}
	return strings.Join(parts, "/")
}

const defaultTrustDomain = "cluster.local"
