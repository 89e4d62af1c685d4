package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// fitsAny tells whether one of some values fits what a condition looks at.
func (a *Approach) fitsAny(c *model.Condition, values []model.Pattern) bool {
	return slices.ContainsFunc(values, func(v model.Pattern) bool { return a.fits(c, v) })
}

func (a *Approach) fits(c *model.Condition, v model.Pattern) bool {
	name := "spiffe://" + a.Principal
	known := a.Principal != ""
	switch c.Attribute {
	case model.AttributePrincipal:
		return known && fits(v, a.Principal, false)
	case model.AttributeNamespace:
		return known && whole(".*/ns/"+starred(v.Text)+"/.*", name)
	case model.AttributeAccount:
		namespace, account, _ := strings.Cut(v.Text, "/")
		return known && strings.HasSuffix(name, "/ns/"+namespace+"/sa/"+account)
	case model.AttributeSourceIP:
		return v.Block.Contains(a.From)
	case model.AttributeRemoteIP:
		return v.Block.Contains(a.remote())
	case model.AttributeDestinationIP:
		return v.Block.Contains(a.To.Addr())
	case model.AttributePort:
		return v.Port == a.To.Port()
	case model.AttributeSNI:
		return fits(v, a.SNI, false)
	}
	q := a.Request
	switch c.Attribute {
	case model.AttributeMethod:
		return fits(v, q.Method, false)
	case model.AttributeHost:
		return fits(v, q.Host, true)
	case model.AttributePath:
		if v.Kind == model.PatternTemplate {
			return whole(templated(v.Text), q.Path)
		}
		return fits(v, q.Path, false)
	case model.AttributeHeader:
		return slices.ContainsFunc(q.Headers[c.Path[0]], func(value string) bool { return v.Kind == model.PatternPresent || fits(v, value, false) })
	case model.AttributeRequestPrincipal:
		issuer, subject := v.Token()
		return anyFits(issuer, q.claim("iss")) && anyFits(subject, q.claim("sub"))
	case model.AttributeAudience:
		return anyFits(v, q.claim("aud"))
	case model.AttributePresenter:
		return anyFits(v, q.claim("azp"))
	}
	return anyFits(v, q.claim(c.Path...))
}

func (a *Approach) remote() netip.Addr {
	if a.Remote.IsValid() {
		return a.Remote
	}
	return a.From
}

// fits compares a text. Nothing fits a text that is not there, but an empty pattern.
func fits(v model.Pattern, text string, ignoreCase bool) bool {
	if ignoreCase {
		text, v.Text = strings.ToLower(text), strings.ToLower(v.Text)
	}
	switch v.Kind {
	case model.PatternPresent:
		return text != ""
	case model.PatternPrefix:
		return strings.HasPrefix(text, v.Text)
	case model.PatternSuffix:
		return strings.HasSuffix(text, v.Text)
	}
	return text == v.Text
}

// claim gives the texts of a claim: one, or those of a list.
func (q *ApproachingRequest) claim(path ...string) (out []string) {
	var at any = q.Claims
	for _, name := range path {
		inside, _ := at.(map[string]any)
		at = inside[name]
	}
	switch v := at.(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

func anyFits(v model.Pattern, texts []string) bool {
	return slices.ContainsFunc(texts, func(text string) bool { return fits(v, text, false) })
}

func whole(expr, text string) bool {
	re, err := regexp.Compile(`\A(?:` + expr + `)\z`)
	return err == nil && re.MatchString(text)
}

// starred is an expression for a text in which stars stand for anything.
func starred(text string) string {
	parts := strings.Split(text, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return strings.Join(parts, ".*")
}

// templated is an expression for the paths of a template.
func templated(text string) string {
	return strings.NewReplacer(regexp.QuoteMeta("{**}"), ".*", regexp.QuoteMeta("{*}"), "[^/]+").Replace(regexp.QuoteMeta(text))
}

// show says what a condition finds.
func (a *Approach) show(c *model.Condition) string {
	switch c.Attribute {
	case model.AttributePrincipal, model.AttributeNamespace, model.AttributeAccount:
		return "of " + cmp.Or(a.Principal, "a client without a certificate of the mesh")
	case model.AttributeSourceIP:
		return a.From.String()
	case model.AttributeRemoteIP:
		return a.remote().String()
	case model.AttributeDestinationIP:
		return a.To.Addr().String()
	case model.AttributePort:
		return strconv.Itoa(int(a.To.Port()))
	case model.AttributeSNI:
		return strconv.Quote(a.SNI)
	case model.AttributeMethod:
		return a.Request.Method
	case model.AttributeHost:
		return a.Request.Host
	case model.AttributePath:
		return a.Request.Path
	case model.AttributeHeader:
		return fmt.Sprintf("%q", strings.Join(a.Request.Headers[c.Path[0]], ","))
	}
	if a.Request.Claims == nil {
		return "of a request without a token that is believed"
	}
	return "of the request's token"
}
