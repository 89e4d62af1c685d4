package model

import (
	"cmp"
	"strings"
)

// ObjectName is an object's namespace and name, where the kind is clear.
type ObjectName = ServiceName

// Seniority orders objects that want the same: the older goes first, then by kind, namespace and name. Created is when the object was made, in
// seconds since 1970; it never changes while the object lives, so it makes no two states of an object differ.
type Seniority struct {
	Created int64
	Kind    string
	Name    ObjectName
}

// Compare puts who has the better right first.
func (s Seniority) Compare(o Seniority) int {
	return cmp.Or(cmp.Compare(s.Created, o.Created), strings.Compare(s.Kind, o.Kind), s.Name.Compare(o.Name))
}

// Fleet names the gateway proxies that share one configuration: those of one namespace that carry the same labels.
type Fleet struct {
	Namespace string
	Labels    Labels
}

// String reads "weft-system/app=istio-ingressgateway,istio=ingressgateway".
func (f Fleet) String() string { return f.Namespace + "/" + string(f.Labels) }

// GatewayName names a [Gateway]: the kind that declares it (different APIs may use the same name), namespace and name.
type GatewayName struct {
	Kind string // "Gateway" for Istio's; "Ingress" for what an Ingress implies
	Name ObjectName
}

// Compare orders by kind, namespace and name.
func (g GatewayName) Compare(o GatewayName) int {
	return cmp.Or(strings.Compare(g.Kind, o.Kind), g.Name.Compare(o.Name))
}

// String reads "Gateway shop/public".
func (g GatewayName) String() string { return g.Kind + " " + g.Name.String() }

// Mesh is the kind that stands for the sidecars of the mesh among the gateways of a [RouteSet]: GatewayName{Kind: Mesh}.
const Mesh = "Mesh"

// Gateway is what an object asks gateway proxies to listen for.
type Gateway struct {
	Name     GatewayName
	Selector Labels // which fleets; the empty selector is all of them
	Servers  []Server
	Seniority
	Origin Origin
}

// Server is one port of a Gateway, with the hosts that may be reached there.
type Server struct {
	Name     string // as declared, for route names and people
	Port     uint16 // as declared; where a proxy binds is for the proxy's platform to say
	Protocol ServerProtocol
	Hosts    []ServerHost
	TLS      *ServerTLS // nil: plaintext

	// RedirectHTTPS answers every plaintext HTTP request with a redirect (301) to https.
	RedirectHTTPS bool

	Origin Origin
}

// ServerProtocol is what a Server speaks once TLS, if any, is taken off.
type ServerProtocol uint8

const (
	// ServeHTTP: HTTP/1.1 and HTTP/2.
	ServeHTTP ServerProtocol = iota
	// ServeTCP: bytes; with TLS terminated first if the Server has TLS that is not Passthrough.
	ServeTCP
	// ServePassthrough: TLS that is routed by SNI and not terminated.
	ServePassthrough
)

// String names the protocol for people.
func (p ServerProtocol) String() string {
	return [...]string{ServeHTTP: "HTTP", ServeTCP: "TCP", ServePassthrough: "TLS passthrough"}[p]
}

// ServerHost is a host of a Server, and which namespaces may bind routes to it.
type ServerHost struct {
	// Host is a name, "*.suffix" or "*", in lower case.
	Host string
	// Namespace is where routes may come from: a name, "." made out as the Gateway's own, or "*" for any.
	Namespace string
}

// ServerTLS is how a Server terminates TLS.
type ServerTLS struct {
	// Credentials name the Secrets with certificate and key, in preference order. They are in the fleet's namespace unless the API grants another.
	Credentials []ObjectName

	// ClientCA names the Secret (or the key "ca.crt" of the credential itself) that client certificates are verified with; nil: none are asked for.
	ClientCA *ObjectName
	// ClientOptional lets clients without a certificate in, although ClientCA is set.
	ClientOptional bool
	// ClientSANs are the subject alternative names of which the client certificate must have one; empty: any.
	ClientSANs []string

	MinVersion, MaxVersion TLSVersion // 0: the default (1.2 and 1.3)
	CipherSuites           []string   // by OpenSSL's names, as Envoy takes them; empty: the default
}

// TLSVersion is a version of TLS as on the wire; 0 is not said.
type TLSVersion uint16

// The versions of TLS.
const (
	TLS10 TLSVersion = 0x0301
	TLS11 TLSVersion = 0x0302
	TLS12 TLSVersion = 0x0303
	TLS13 TLSVersion = 0x0304
)
