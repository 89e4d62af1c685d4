package resource

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/internal/model"
)

// headerRules are header operations as Envoy has them. authority is the one that cannot be said as a header.
type headerRules struct {
	set       []*corev3.HeaderValueOption
	remove    []string
	authority string
}

// headers says header operations. Envoy allows neither pseudo-headers nor Host among them: setting Host is a rewrite of the authority, and the rest
// would cost the whole resource, so it is left out.
func headers(ops model.HeaderOps) (out headerRules) {
	add := func(list []model.HeaderValue, action corev3.HeaderValueOption_HeaderAppendAction) {
		for _, h := range list {
			switch {
			case strings.EqualFold(h.Name, "host") || h.Name == ":authority":
				out.authority = h.Value
			case sayable(h.Name):
				out.set = append(out.set, &corev3.HeaderValueOption{
					Header: &corev3.HeaderValue{Key: h.Name, Value: headerValue(h.Value)}, AppendAction: action,
				})
			}
		}
	}
	add(ops.Set, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	add(ops.Add, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	for _, name := range ops.Remove {
		if sayable(name) && !strings.EqualFold(name, "host") {
			out.remove = append(out.remove, name)
		}
	}
	return out
}

// sayable tells whether a name is a header's (RFC 9110, section 5.1).
func sayable(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return name != ""
}

// operator tells whether a name may stand between per cent signs in a header: what stock Envoy formats without an argument.
func operator(name string) bool {
	switch name {
	case "REQUEST_HEADERS_BYTES", "RESPONSE_HEADERS_BYTES", "START_TIME", "PROTOCOL", "RESPONSE_CODE", "RESPONSE_CODE_DETAILS", "RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG",
		"ROUTE_NAME", "UPSTREAM_HOST", "UPSTREAM_HOST_NAME", "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW", "UPSTREAM_LOCAL_ADDRESS", "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
		"UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "UPSTREAM_REMOTE_PORT", "UPSTREAM_LOCAL_PORT", "UPSTREAM_TRANSPORT_FAILURE_REASON",
		"DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_REMOTE_PORT", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
		"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_DIRECT_REMOTE_PORT", "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
		"DOWNSTREAM_LOCAL_PORT", "DOWNSTREAM_LOCAL_URI_SAN", "DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_LOCAL_SUBJECT", "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_ISSUER",
		"DOWNSTREAM_TLS_SESSION_ID", "DOWNSTREAM_TLS_CIPHER", "DOWNSTREAM_TLS_VERSION", "DOWNSTREAM_PEER_FINGERPRINT_256", "DOWNSTREAM_PEER_FINGERPRINT_1",
		"DOWNSTREAM_PEER_SERIAL", "DOWNSTREAM_PEER_CERT", "DOWNSTREAM_PEER_CERT_V_START", "DOWNSTREAM_PEER_CERT_V_END", "REQUESTED_SERVER_NAME", "HOSTNAME",
		"CONNECTION_ID", "STREAM_ID", "BYTES_RECEIVED", "BYTES_SENT", "DURATION", "REQUEST_DURATION", "RESPONSE_DURATION", "RESPONSE_TX_DURATION",
		"VIRTUAL_CLUSTER_NAME", "CONNECTION_TERMINATION_DETAILS", "FILTER_CHAIN_NAME", "UPSTREAM_REQUEST_ATTEMPT_COUNT", "UPSTREAM_PROTOCOL",
		"DOWNSTREAM_TRANSPORT_FAILURE_REASON":
		return true
	}
	return false
}

// argument tells whether an operator takes this argument.
func argument(name, arg string) bool {
	switch name {
	case "REQ", "RESP", "TRAILER":
		first, second, both := strings.Cut(arg, "?")
		return sayable(strings.TrimPrefix(first, ":")) && (!both || sayable(strings.TrimPrefix(second, ":")))
	case "ENVIRONMENT", "QUERY_PARAM", "DYNAMIC_METADATA", "CLUSTER_METADATA":
		return strings.Trim(arg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:") == ""
	case "METADATA":
		kind, rest, _ := strings.Cut(arg, ":")
		return (kind == "ROUTE" || kind == "CLUSTER" || kind == "UPSTREAM_HOST" || kind == "DYNAMIC") && rest != "" && argument("DYNAMIC_METADATA", rest)
	}
	return false
}

// headerValue gives a value in which every per cent sign that begins no known placeholder is doubled, which is how Envoy writes a plain one: an unknown
// placeholder would cost the whole resource. Bytes that no header can have are left out.
func headerValue(v string) string {
	v = strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return -1
		}
		return r
	}, utf8(v))
	if !strings.Contains(v, "%") {
		return v
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(v, "%")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if strings.HasPrefix(rest, "%") { // already written twice
			b.WriteString("%%")
			v = rest[1:]
			continue
		}
		if inside, after, closed := strings.Cut(rest, "%"); closed && placeholder(inside) {
			b.WriteString("%" + inside + "%")
			v = after
			continue
		}
		b.WriteString("%%")
		v = rest
	}
}

// placeholder tells whether Envoy knows NAME, NAME(ARGUMENT) or NAME(ARGUMENT):LENGTH.
func placeholder(s string) bool {
	name, rest := s, ""
	if i := strings.IndexAny(s, "(:"); i >= 0 {
		name, rest = s[:i], s[i:]
	}
	arg, argued := "", false
	if strings.HasPrefix(rest, "(") {
		end := strings.LastIndexByte(rest, ')')
		if end < 2 {
			return false
		}
		arg, argued, rest = rest[1:end], true, rest[end+1:]
	}
	if rest != "" {
		digits, isLength := strings.CutPrefix(rest, ":")
		if !isLength || digits == "" || len(digits) > 6 || strings.Trim(digits, "0123456789") != "" {
			return false
		}
	}
	if argued {
		return argument(name, arg)
	}
	return rest == "" && operator(name) // these take no length
}
