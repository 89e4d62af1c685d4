package model

import "time"

// RequestAuthentication is which tokens of requests (JWT, RFC 7519) one object says are believed. A request without a token is let by; one with a
// token that no rule of its issuer believes is answered 401.
type RequestAuthentication struct {
	Name   ObjectName
	Rules  []JWTRule
	Origin Origin
}

// JWTRule is how the tokens of one issuer are found and believed.
type JWTRule struct {
	Issuer    string   // "": any
	Audiences []string // of which a token must be for one; none: any

	// Keys is the keys that tokens are signed with (JWKS, RFC 7517). "" means that there are none to be had: every token is refused.
	Keys string

	// Headers, Params (of the query) and Cookies are where tokens are looked for. If none is named, that is "Authorization: Bearer" and the
	// parameter access_token.
	Headers         []TokenHeader
	Params, Cookies []string

	Forward        bool          // the token stays in the request
	PayloadHeader  string        // which is given the token's payload, in base64url; "": none
	ClaimHeaders   []ClaimHeader // that are given single claims
	SpaceDelimited []string      // claims whose texts are lists, besides scope and permission; sorted

	Origin Origin
}

// TokenHeader is a header that may hold a token, behind a prefix.
type TokenHeader struct{ Name, Prefix string }

// ClaimHeader is a header that is given a claim.
type ClaimHeader struct{ Claim, Header string }

// Guard is what is asked of requests and connections to a workload, besides what [PeerAuthentication] asks.
type Guard struct {
	Authorizations  []*AuthorizationPolicy
	Authentications []*RequestAuthentication
}

// KeySource is where the keys of an issuer are to be had. A URL that ends in OpenIDConfiguration names a document that says where they are.
type KeySource struct {
	URL     string
	Timeout time.Duration // of an attempt; 0: whatever is usual
}

// OpenIDConfiguration is where an issuer says where its keys are (OpenID Connect Discovery 1.0, section 4).
const OpenIDConfiguration = "/.well-known/openid-configuration"

// KeySet is what is known of the keys at a URL.
type KeySet struct {
	URL     string
	Keys    string // JWKS; "" if they were never had
	Problem string // why they could not be had when it was last tried; "" if they could
}
