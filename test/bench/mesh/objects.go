package main

// Where everything is.
const (
	namespace     = "shop"
	clientAccount = "client"
	serverAccount = "web"
	otherAccount  = "other" // whom no policy lets in

	clientAddress = "10.244.0.1"
	serverAddress = "10.244.0.2"
	serviceURL    = "http://10.96.0.1"
	onceURL       = "http://10.96.0.2" // a connection between the sidecars carries one request
	serviceHost   = "web.shop"
	onceHost      = "once.shop"
	backendPort   = 8080
)

// objects are what both kinds of sidecars are configured by.
const objects = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: web-1, namespace: shop}}]
---
apiVersion: v1
kind: Service
metadata: {name: once, namespace: shop}
spec: {clusterIP: 10.96.0.2, clusterIPs: [10.96.0.2], selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: once-1, namespace: shop, labels: {kubernetes.io/service-name: once}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: web-1, namespace: shop}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: once, namespace: shop}
spec: {host: once, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: client-1, namespace: shop, labels: {app: client, security.istio.io/tlsMode: istio}, annotations: {sidecar.istio.io/status: '{}'}}
spec: {serviceAccountName: client, containers: [{name: client, image: client}]}
status: {phase: Running, podIPs: [{ip: 10.244.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, security.istio.io/tlsMode: istio}, annotations: {sidecar.istio.io/status: '{}'}}
spec: {serviceAccountName: web, containers: [{name: web, image: web, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIPs: [{ip: 10.244.0.2}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: clients, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/client]}}]}]}
`
