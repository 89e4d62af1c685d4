package ingress

import (
	"regexp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/model"
)

// canary is which requests an Ingress takes from the one that has the same host and path: by a header, by a cookie, else by weight.
type canary struct {
	on            bool
	header        string
	value         string // "": "always"
	pattern       string
	cookie        string
	weight, total uint32
}

func (a *annotationReader) canary() (c canary) {
	c.on = a.flag("canary", false)
	c.header, c.value, c.pattern = a.text("canary-by-header"), a.text("canary-by-header-value"), a.text("canary-by-header-pattern")
	c.cookie = a.text("canary-by-cookie")
	total := a.number("canary-weight-total", 100, 1<<20)
	c.total, c.weight = uint32(total), uint32(a.number("canary-weight", 0, total))
	if _, err := regexp.Compile(c.anywhere()); err != nil {
		a.bad("canary-by-header-pattern", "%v", err)
		c.pattern, c.header = "", ""
	}
	return c
}

// anywhere is the pattern of the header's value, which may be a part of it.
func (c *canary) anywhere() string { return ".*(" + c.pattern + ").*" }

// matches gives the conditions under which a request that fits match is the canary's.
func (c *canary) matches(match model.Match) (out []model.Match) {
	with := func(h model.NamedMatch) {
		m := match
		m.Headers = append(slices.Clone(match.Headers), h)
		out = append(out, m)
	}
	if c.header != "" {
		value := model.StringMatch{Kind: model.MatchExact, Value: c.value}
		switch {
		case c.value == "" && c.pattern != "":
			value = model.StringMatch{Kind: model.MatchRegex, Value: c.anywhere()}
		case c.value == "":
			value.Value = "always"
		}
		with(model.NamedMatch{Name: strings.ToLower(c.header), StringMatch: value})
	}
	if c.cookie != "" {
		with(model.NamedMatch{Name: "cookie", StringMatch: model.StringMatch{Kind: model.MatchRegex, Value: `(.*;\s*)?` + regexp.QuoteMeta(c.cookie) + `=always(;.*)?`}})
	}
	return out
}
