// Package routing is the language in which weft's routing is tested: given these objects, when this request comes to this listener, expect this
// answer. Each case runs three ways that must agree: on the model alone (what `weft explain` says), through weft's proxy, and through stock Envoy,
// both fed by weft's xDS.
//
// A file in testdata holds objects and then cases:
//
//	-- objects --
//	apiVersion: networking.istio.io/v1
//	kind: VirtualService
//	...
//	-- cases --
//	# Jason sees version 2.
//	GET http://shop.test/ping
//	> x-user: jason
//	< 200
//	< to web-v2
//	< rule VirtualService default/shop spec.http[0]
//	< sees path /ping
//
// Lines that begin with '>' are headers of the request ("> header: value"), or its body ("> body TEXT"). Lines that begin with '<' are what is expected:
//
//	< 301                      the status; of gRPC, "< grpc 14"
//	< to NAME...               the endpoints that may answer, by the names of their Pods or WorkloadEntries: all of them, no other
//	< share NAME... 90%        together these answer this share of many requests
//	< rule OBJECT FIELD        which rule decides, as explain names it
//	< sees method|path|host V  what the endpoint sees
//	< sees NAME: V             a header that the endpoint sees; "< sees no NAME" one that it does not
//	< header NAME: V           a header of the answer; "< no header NAME" one that it does not have
//	< body TEXT                the answer's body
//	< closed                   the connection is closed without an answer (TLS that is refused, a TCP port that leads nowhere)
//
// A request is "METHOD URL", where the URL's port is the one declared in the Gateway (80 for http and 443 for https if there is none); "GRPC URL" is a
// unary call; "TCP NAME:PORT" is a connection, and "TLS NAME:PORT" one that begins with a TLS handshake for NAME.
//
// testdata/world.yaml is objects that all files share.
package routing
