package model

import (
	"net/netip"
	"slices"
	"strings"
)

// AuthorizationAction is what is done with the requests and connections that a policy matches.
type AuthorizationAction uint8

const (
	// AuthorizationAllow lets them in, and nothing that no such policy matches.
	AuthorizationAllow AuthorizationAction = iota
	// AuthorizationDeny refuses them, whatever else is said.
	AuthorizationDeny
	// AuthorizationAudit notes them, and decides nothing.
	AuthorizationAudit
	// AuthorizationCustom leaves them to somebody who is asked. Nobody is known who could be: they are refused.
	AuthorizationCustom
)

// String names the action as AuthorizationPolicy does.
func (a AuthorizationAction) String() string {
	return [...]string{AuthorizationAllow: "ALLOW", AuthorizationDeny: "DENY", AuthorizationAudit: "AUDIT", AuthorizationCustom: "CUSTOM"}[a]
}

// AuthorizationPolicy is which requests and connections one object is about, and what is done with them. Everything that matches one of its rules
// matches it.
type AuthorizationPolicy struct {
	Name     ObjectName
	Action   AuthorizationAction
	Provider string // who was to be asked (AuthorizationCustom)
	DryRun   bool   // it is only noted what would be done
	Rules    []AuthorizationRule
	Origin   Origin
}

// AuthorizationRule matches what one clause of From holds for, one clause of To, and all of When. No clauses are one that always holds.
type AuthorizationRule struct {
	Index    int // among the rules of the object, of which those that could let in too much are left out
	From, To []Clause
	When     []Condition
	Origin   Origin
}

// Clause is conditions that must all hold. There may be none.
type Clause struct {
	All    []Condition
	Origin Origin
}

// Condition holds if one of Values fits the attribute, or there are none, and none of NotValues does. One without either is never made.
type Condition struct {
	Attribute Attribute
	Path      []string // AttributeHeader: its name in lower case; AttributeClaim: the names that lead to it, from the outside
	Values    []Pattern
	NotValues []Pattern
	Origin    Origin
}

// Attribute is what a condition looks at.
type Attribute uint8

// What conditions can look at. The first group is of who asks, the second of what is asked for.
const (
	AttributePrincipal        Attribute = iota // the client's certificate, as "cluster.local/ns/shop/sa/web"
	AttributeRequestPrincipal                  // "ISSUER/SUBJECT" of the request's token
	AttributeAccount                           // "shop/web": namespace and service account in the client's certificate
	AttributeNamespace                         // the namespace in the client's certificate
	AttributeRemoteIP                          // the client's address, as x-forwarded-for or the PROXY protocol have it
	AttributeSourceIP                          // the address that the connection comes from
	AttributeAudience                          // of the request's token
	AttributePresenter                         // whom the request's token was given to: its claim azp
	AttributeClaim                             // of the request's token
	AttributeHeader                            // of the request

	AttributeHost // the request's authority, in any case
	AttributeMethod
	AttributePath
	AttributePort          // that the connection was made to
	AttributeDestinationIP // that the connection was made to
	AttributeSNI
)

// attributes are the attributes in the words of AuthorizationPolicy, and whether only HTTP has them.
var attributes = [256]struct {
	name string
	http bool
}{
	AttributePrincipal: {"source.principal", false}, AttributeRequestPrincipal: {"request.auth.principal", true}, AttributeAccount: {"source.serviceAccount", false},
	AttributeNamespace: {"source.namespace", false}, AttributeRemoteIP: {"remote.ip", false}, AttributeSourceIP: {"source.ip", false},
	AttributeAudience: {"request.auth.audiences", true}, AttributePresenter: {"request.auth.presenter", true}, AttributeClaim: {"request.auth.claims", true},
	AttributeHeader: {"request.headers", true}, AttributeHost: {"host", true}, AttributeMethod: {"method", true}, AttributePath: {"path", true},
	AttributePort: {"destination.port", false}, AttributeDestinationIP: {"destination.ip", false}, AttributeSNI: {"connection.sni", false},
}

// String names the attribute as AuthorizationPolicy does.
func (a Attribute) String() string { return attributes[a].name }

// HTTP tells whether only requests have the attribute, and connections that are carried as bytes do not.
func (a Attribute) HTTP() bool { return attributes[a].http }

// OfSource tells whether the attribute says who asks, not what is asked for.
func (a Attribute) OfSource() bool { return a < AttributeHost }

// String reads "request.headers[x-user]".
func (c *Condition) String() string {
	s := c.Attribute.String()
	for _, p := range c.Path {
		s += "[" + p + "]"
	}
	return s
}

// PatternKind is how a Pattern compares.
type PatternKind uint8

const (
	// PatternExact is the text itself.
	PatternExact PatternKind = iota
	// PatternPrefix is what begins with the text.
	PatternPrefix
	// PatternSuffix is what ends with the text.
	PatternSuffix
	// PatternPresent is everything that is there, and is not empty.
	PatternPresent
	// PatternGlob is the text, in which stars stand for anything (AttributeNamespace).
	PatternGlob
	// PatternTemplate is a path with the segments {*}, any one, and {**}, any number of them (AttributePath).
	PatternTemplate
	// PatternToken is an issuer and a subject, see [Pattern.Token] (AttributeRequestPrincipal).
	PatternToken
	// PatternBlock is the addresses of Block.
	PatternBlock
	// PatternPort is Port.
	PatternPort
)

// Pattern is what an attribute is compared with.
type Pattern struct {
	Kind  PatternKind
	Text  string // as it was written, without the star of a prefix or suffix
	Block netip.Prefix
	Port  uint16
}

// MakePattern reads a text that may begin or end with a star.
func MakePattern(text string) Pattern {
	if text == "*" {
		return Pattern{Kind: PatternPresent}
	}
	if rest, ok := strings.CutPrefix(text, "*"); ok {
		return Pattern{Kind: PatternSuffix, Text: rest}
	}
	if rest, ok := strings.CutSuffix(text, "*"); ok {
		return Pattern{Kind: PatternPrefix, Text: rest}
	}
	return Pattern{Kind: PatternExact, Text: text}
}

// Token gives what the issuer and the subject of a token must be. The last slash is between them, as an issuer may be a URL. Only one star is one:
// in front it is the issuer's if there is a slash, else the subject's; behind it is the subject's if there is a slash, else the issuer's.
func (p Pattern) Token() (issuer, subject Pattern) {
	if p.Text == "*" {
		return Pattern{Kind: PatternPresent}, Pattern{Kind: PatternPresent}
	}
	i := strings.LastIndexByte(p.Text, '/')
	before, after := p.Text, ""
	if i >= 0 {
		before, after = p.Text[:i], p.Text[i+1:]
	}
	switch {
	case strings.HasPrefix(p.Text, "*") && i < 0:
		return Pattern{Kind: PatternPresent}, MakePattern(p.Text)
	case strings.HasPrefix(p.Text, "*"):
		return MakePattern(before), Pattern{Text: after}
	case strings.HasSuffix(p.Text, "*") && i < 0:
		return MakePattern(p.Text), Pattern{Kind: PatternPresent}
	case strings.HasSuffix(p.Text, "*"):
		return Pattern{Text: before}, MakePattern(after)
	}
	return Pattern{Text: before}, Pattern{Text: after}
}

// String reads as the pattern was written.
func (p Pattern) String() string {
	switch p.Kind {
	case PatternPrefix:
		return p.Text + "*"
	case PatternSuffix:
		return "*" + p.Text
	case PatternPresent:
		return "*"
	case PatternBlock:
		return p.Block.String()
	}
	return p.Text
}

// HTTP tells whether the rule looks at something that only requests have.
func (r *AuthorizationRule) HTTP() bool {
	return slices.ContainsFunc(r.conditions(), func(c *Condition) bool { return c.Attribute.HTTP() })
}

// OnlyHTTP tells whether the rule looks at nothing else.
func (r *AuthorizationRule) OnlyHTTP() bool {
	return !slices.ContainsFunc(r.conditions(), func(c *Condition) bool { return !c.Attribute.HTTP() })
}

// conditions lists all conditions of a rule.
func (r *AuthorizationRule) conditions() (out []*Condition) {
	for _, clauses := range [][]Clause{r.From, r.To} {
		for i := range clauses {
			for j := range clauses[i].All {
				out = append(out, &clauses[i].All[j])
			}
		}
	}
	for i := range r.When {
		out = append(out, &r.When[i])
	}
	return out
}
