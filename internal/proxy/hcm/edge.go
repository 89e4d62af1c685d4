package hcm

import (
	"math/rand/v2"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// edge is what of a request's head is believed, stripped and added before anybody looks at it.
type edge struct {
	useRemote    bool // the client is who connects to us: an edge, so it is a stranger
	hops         int  // trusted proxies in front
	skipAppend   bool // of x-forwarded-for
	generateID   bool
	preserveID   bool
	echoID       bool // x-request-id in responses
	cert         hcmv3.HttpConnectionManager_ForwardClientCertDetails
	certSubject  bool
	certURI      bool
	certDNS      bool
	stripPort    bool
	stripOwnPort bool
	maxFields    int
	underscores  underscoresAction
}

func newEdge(m *hcmv3.HttpConnectionManager) edge {
	set := m.GetSetCurrentClientCertDetails()
	return edge{
		useRemote: m.GetUseRemoteAddress().GetValue(), hops: int(m.GetXffNumTrustedHops()), skipAppend: m.GetSkipXffAppend(),
		generateID: m.GetGenerateRequestId() == nil || m.GetGenerateRequestId().GetValue(),
		preserveID: m.GetPreserveExternalRequestId(), echoID: m.GetAlwaysSetRequestIdInResponse(), cert: m.GetForwardClientCertDetails(),
		certSubject: set.GetSubject().GetValue(), certURI: set.GetUri(), certDNS: set.GetDns(),
		stripPort: m.GetStripAnyHostPort(), stripOwnPort: m.GetStripMatchingHostPort(),
	}
}

func (e *edge) setsClientCert() bool {
	return e.cert == hcmv3.HttpConnectionManager_APPEND_FORWARD || e.cert == hcmv3.HttpConnectionManager_SANITIZE_SET
}

// untrusted are fields by which proxies tell each other what is not a stranger's to say. The names are without their prefix "x-".
var untrusted = map[string]bool{
	"envoy-internal": true, "envoy-external-address": true, "envoy-decorator-operation": true,
	"envoy-downstream-service-cluster": true, "envoy-downstream-service-node": true, "envoy-expected-rq-timeout-ms": true, "envoy-force-trace": true,
	"envoy-ip-tags": true, "envoy-max-retries": true, "envoy-retry-on": true, "envoy-retry-grpc-on": true, "envoy-retriable-header-names": true,
	"envoy-retriable-status-codes": true, "envoy-hedge-on-per-try-timeout": true, "envoy-upstream-alt-stat-name": true,
	"envoy-upstream-rq-per-try-timeout-ms": true, "envoy-upstream-rq-timeout-alt-response": true, "envoy-upstream-rq-timeout-ms": true,
	"envoy-upstream-stream-duration-ms": true, "envoy-original-path": true, "envoy-original-host": true, "envoy-attempt-count": true,
	"envoy-peer-metadata": true, "envoy-peer-metadata-id": true, "istio-attributes": true, "envoy-is-timeout-retry": true,
}

// hides tells whether a field, whose name is without its prefix "x-", is not for who connects to say. With no trusted proxy in front that goes for
// all of x-forwarded-*; those that have a rule of their own are left to it.
func (e *edge) hides(name string) bool {
	switch {
	case !e.useRemote:
		return false
	case untrusted[name]:
		return true
	case e.hops > 0 || !strings.HasPrefix(name, "forwarded-"):
		return false
	}
	return name != "forwarded-for" && name != "forwarded-proto" && name != "forwarded-client-cert"
}

// seen is what the one pass over a request's fields found; indexes are -1 where there is none.
type seen struct {
	forwarded, proto, id, cert, expect int
	twice                              bool // one of the first four is there more than once
}

// note remembers where a field is.
func (s *seen) note(at *int, i int) {
	s.twice = s.twice || *at >= 0
	*at = i
}

// prepare brings a request's head into the form that filters, routes and endpoints see. If it cannot be taken it says why, with a status.
func (x *exchange) prepare() (status int, details string) {
	c, e, req := x.c, &x.m.edge, x.info.Request
	f := &req.Fields
	if f.Len() > e.maxFields { // over HTTP/1 the transport has counted them
		return 431, "too_many_headers"
	}
	found := seen{-1, -1, -1, -1, -1, false}
	strip := false
	for i, h := range f.All() {
		name := h.Name
		if e.underscores != corev3.HttpProtocolOptions_ALLOW && strings.IndexByte(name, '_') >= 0 {
			if e.underscores == corev3.HttpProtocolOptions_REJECT_REQUEST {
				return 400, "http1.unexpected_underscore"
			}
			strip = true
		}
		if len(name) < 3 {
			continue
		}
		switch name[0] {
		case 'x':
			switch name {
			case "x-forwarded-for":
				found.note(&found.forwarded, i)
			case "x-forwarded-proto":
				found.note(&found.proto, i)
			case "x-request-id":
				found.note(&found.id, i)
			case "x-forwarded-client-cert":
				found.note(&found.cert, i)
			default:
				strip = strip || name[1] == '-' && e.hides(name[2:]) || name == "x-envoy-internal"
			}
		case 'e':
			if name == "expect" {
				found.expect = i
			}
		}
	}
	if strip {
		f.DelFunc(func(h message.Field) bool {
			return e.underscores == corev3.HttpProtocolOptions_DROP_HEADER && strings.IndexByte(h.Name, '_') >= 0 ||
				len(h.Name) > 2 && h.Name[:2] == "x-" && (e.hides(h.Name[2:]) || h.Name == "x-envoy-internal")
		})
		found.locate(f)
	}
	if found.twice {
		single(f)
		found.locate(f)
	}
	x.clientAddress(&found)
	x.forwardedProto(&found)
	x.requestID(&found)
	x.clientCert(&found)
	if found.expect >= 0 {
		expected, _ := f.Get("expect")
		f.Del("expect") // HTTP/1's transport tells the client to go on when we read
		if req.Version >= message.HTTP2 && x.stream.RequestLength() != message.NoBody && strings.EqualFold(expected, "100-continue") {
			// RFC 9110 section 10.1.1. If that fails the stream is over, and who reads finds out.
			_ = x.stream.WriteInterim(&message.Response{Status: 100})
		}
	}
	if c.scheme == "https" && x.m.scheme == "" {
		req.Scheme = "https"
	} else if x.m.scheme != "" {
		req.Scheme = x.m.scheme
	}
	if e.stripPort || e.stripOwnPort {
		x.stripPort(e)
	}
	return 0, ""
}

// single makes one field of those that came more than once, so that nobody behind us finds another than we looked at. The two that are lists are
// joined; of the others no value is better than the next.
func single(f *message.Fields) {
	for _, name := range [...]string{"x-forwarded-for", "x-forwarded-client-cert"} {
		var all []byte
		n := 0
		for _, h := range f.All() {
			if h.Name == name {
				if n++; n > 1 {
					all = append(all, ',')
				}
				all = append(all, h.Value...)
			}
		}
		if n > 1 {
			f.Set(name, f.Copy(all))
		}
	}
	for _, name := range [...]string{"x-forwarded-proto", "x-request-id"} {
		n := 0
		for _, h := range f.All() {
			if h.Name == name {
				n++
			}
		}
		if n > 1 {
			f.Del(name)
		}
	}
}

// trailers gives the request's trailers once it was read to its end, without what a stranger may not say: an application that does not tell
// trailers from fields would find it where it looks for what its proxies say.
func (x *exchange) trailers() *message.Fields {
	f := x.stream.RequestTrailers()
	if f != nil && f.Len() > 0 && x.m.edge.useRemote {
		f.DelFunc(func(h message.Field) bool {
			name, ok := strings.CutPrefix(h.Name, "x-")
			return ok && (untrusted[name] || name == "request-id" || name == "real-ip" || strings.HasPrefix(name, "forwarded-"))
		})
	}
	return f
}

func (s *seen) locate(f *message.Fields) {
	s.forwarded, s.proto, s.id, s.cert, s.expect = -1, -1, -1, -1, -1
	for i, h := range f.All() {
		switch h.Name {
		case "x-forwarded-for":
			s.forwarded = i
		case "x-forwarded-proto":
			s.proto = i
		case "x-request-id":
			s.id = i
		case "x-forwarded-client-cert":
			s.cert = i
		case "expect":
			s.expect = i
		}
	}
}

// clientAddress decides who the client is, and appends who connects to us to x-forwarded-for.
func (x *exchange) clientAddress(found *seen) {
	e, f := &x.m.edge, &x.info.Request.Fields
	before := ""
	if found.forwarded >= 0 {
		before = f.All()[found.forwarded].Value
	}
	x.info.Client = x.c.Peer
	switch {
	case e.useRemote && e.hops > 0:
		if a, ok := fromRight(before, e.hops-1); ok {
			x.info.Client = netip.AddrPortFrom(a, 0)
		}
	case !e.useRemote:
		if a, ok := fromRight(before, e.hops); ok {
			x.info.Client = netip.AddrPortFrom(a, 0)
		}
		return // nobody but an edge appends
	}
	var room [256]byte
	if !e.skipAppend {
		b := room[:0]
		if before != "" {
			b = append(append(b, before...), ',')
		}
		b = x.c.Peer.Addr().AppendTo(b)
		if found.forwarded >= 0 {
			f.All()[found.forwarded].Value = f.Copy(b)
		} else {
			f.Add("x-forwarded-for", f.Copy(b))
		}
	}
	if found.forwarded >= 0 && before != "" || !x.info.Client.Addr().IsLoopback() {
		f.Set("x-envoy-external-address", f.Copy(x.info.Client.Addr().AppendTo(room[:0])))
	}
}

// fromRight gives the n-th address of x-forwarded-for, counted from the right and from 0.
func fromRight(v string, n int) (a netip.Addr, ok bool) {
	for range n {
		i := strings.LastIndexByte(v, ',')
		if i < 0 {
			return a, false
		}
		v = v[:i]
	}
	v = strings.TrimSpace(v[strings.LastIndexByte(v, ',')+1:])
	if v == "" {
		return a, false // as most often inside a mesh; that error would be garbage
	}
	a, err := netip.ParseAddr(v)
	return a, err == nil && a.Zone() == ""
}

// forwardedProto sets x-forwarded-proto to how the client came, unless a trusted proxy in front has said so.
func (x *exchange) forwardedProto(found *seen) {
	e, f := &x.m.edge, &x.info.Request.Fields
	if found.proto >= 0 {
		field := &f.All()[found.proto]
		if e.useRemote && e.hops == 0 || field.Value != "http" && field.Value != "https" {
			field.Value = x.c.scheme
		}
		return
	}
	f.Add("x-forwarded-proto", x.c.scheme)
}

const hexDigits = "0123456789abcdef"

// requestID gives the request an x-request-id, unless it has one that may be kept: not a stranger's, at an edge, if that is not asked for.
func (x *exchange) requestID(found *seen) {
	e, f := &x.m.edge, &x.info.Request.Fields
	if !e.generateID || found.id >= 0 && (!e.useRemote || e.preserveID) && f.All()[found.id].Value != "" {
		return
	}
	var b [36]byte
	n := [2]uint64{rand.Uint64(), rand.Uint64()} // a random UUID: RFC 9562 section 5.4
	n[0] = n[0]&^0xf000 | 0x4000
	n[1] = n[1]&^(3<<62) | 2<<62
	at := 0
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			b[at] = '-'
			at++
		}
		b[at] = hexDigits[n[i/16]>>(60-4*(i%16))&15]
		at++
	}
	if id := f.Copy(b[:]); found.id >= 0 {
		f.All()[found.id].Value = id
	} else {
		f.Add("x-request-id", id)
	}
}

// clientCert decides on x-forwarded-client-cert (forward_client_cert_details).
func (x *exchange) clientCert(found *seen) {
	e, f := &x.m.edge, &x.info.Request.Fields
	mutual := x.c.TLS != nil && len(x.c.TLS.PeerCertificates) > 0
	keep := false
	switch e.cert {
	case hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY:
		return
	case hcmv3.HttpConnectionManager_FORWARD_ONLY, hcmv3.HttpConnectionManager_APPEND_FORWARD:
		keep = mutual
	}
	if found.cert >= 0 && !keep {
		f.Del("x-forwarded-client-cert")
	}
	if !mutual || !e.setsClientCert() {
		return
	}
	if v, ok := f.Get("x-forwarded-client-cert"); ok {
		f.Set("x-forwarded-client-cert", f.Copy(append(append([]byte(v), ','), x.c.client...)))
		return
	}
	f.Add("x-forwarded-client-cert", x.c.client)
}

// stripPort takes the port off the authority.
func (x *exchange) stripPort(e *edge) {
	req := x.info.Request
	i := strings.LastIndexByte(req.Authority, ':')
	if i < 0 || strings.IndexByte(req.Authority[i:], ']') >= 0 || req.Method == "CONNECT" {
		return
	}
	port := 0
	for _, c := range []byte(req.Authority[i+1:]) {
		if port = 10*port + int(c-'0'); c < '0' || c > '9' || port > 65535 {
			return
		}
	}
	if e.stripPort || port == int(x.c.Local.Port()) {
		req.Authority = req.Authority[:i]
	}
}
