package jwtauthn

import (
	"github.com/weftmesh/weft/internal/proxy/filter"
	"github.com/weftmesh/weft/internal/proxy/jwt"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// check is a request that is asked for its tokens.
type check struct {
	x    filter.Exchange
	info *message.Info
	now  int64 // seconds since 1970
}

// requirement is what a request needs.
type requirement interface {
	check(*check) jwt.Status
}

// one needs a token of a provider, for its audiences or for others.
type one struct {
	p         *provider
	audiences audiences // nil: the provider's
}

func (r *one) check(c *check) jwt.Status {
	aud := r.audiences
	if aud == nil {
		aud = r.p.audiences
	}
	status := jwt.Missing
	for i := range r.p.places {
		at := &r.p.places[i]
		text, ok := at.find(c.info.Request)
		if !ok {
			continue
		}
		if status = r.p.admit(c, text, at, aud); status == jwt.OK {
			break
		}
	}
	return status
}

// optional lets through who has no token at all, of any provider; if failed is set, also who has a bad one.
type optional struct {
	policy *Policy
	failed bool
}

func (r *optional) check(c *check) jwt.Status {
	status := jwt.Missing
	for _, p := range r.policy.providers {
		for i := range p.places {
			at := &p.places[i]
			text, ok := at.find(c.info.Request)
			if !ok {
				continue
			}
			if status = r.admit(c, text, at); status == jwt.OK && !r.failed {
				return jwt.OK
			}
		}
	}
	if r.failed || status == jwt.Missing {
		return jwt.OK
	}
	return status
}

// admit verifies a token with the provider of its issuer, if that is to be found there.
func (r *optional) admit(c *check, text string, at *place) jwt.Status {
	t, status := jwt.Parse(text)
	if status != jwt.OK {
		return status
	}
	for _, p := range r.policy.providers {
		if (p.issuer == t.Issuer || p.issuer == "") && p.looks(at) {
			return p.admit(c, text, at, p.audiences)
		}
	}
	return jwt.UnknownIssuer
}

// all needs each of several.
type all []requirement

func (r all) check(c *check) jwt.Status {
	for _, inner := range r {
		if s := inner.check(c); s != jwt.OK {
			return s
		}
	}
	return jwt.OK
}

// either needs one of several. Of what is wrong with all of them, a token that is there says more than one that is not.
type either []requirement

func (r either) check(c *check) jwt.Status {
	status := jwt.Missing
	for _, inner := range r {
		s := inner.check(c)
		if s == jwt.OK {
			return s
		}
		if s != jwt.Missing && s != jwt.UnknownIssuer || status == jwt.Missing {
			status = s
		}
	}
	return status
}
