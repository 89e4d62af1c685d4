package main

// What is common to all: keep-alive to the server behind, no retries, counters on, limits raised out of the way (Istio's gateways have none).

const nginxConfig = `
daemon off; user root; worker_processes 1; worker_rlimit_nofile 19000; pid {{.Dir}}/nginx.pid;
events { worker_connections 30000; }
http {
	# What weft and Envoy log by weft's xDS, as far as nginx knows it.
	log_format same escape=json '{"start_time":"$time_iso8601","method":"$request_method","path":"$request_uri","protocol":"$server_protocol",'
		'"response_code":$status,"response_code_details":null,"response_flags":null,"bytes_received":$request_length,"bytes_sent":$body_bytes_sent,'
		'"duration":"$request_time","x_forwarded_for":"$proxy_add_x_forwarded_for",'
		'"user_agent":"$http_user_agent","request_id":"$request_id","authority":"$host","upstream_host":"$upstream_addr","upstream_cluster":"$proxy_host",'
		'"upstream_transport_failure_reason":null,"downstream_local_address":"$server_addr:$server_port",'
		'"downstream_remote_address":"$remote_addr:$remote_port","requested_server_name":"$ssl_server_name","route_name":"$uri","rule":null}';
	access_log {{if .AccessLog}}{{.Log}} same buffer=256k flush=1s{{else}}off{{end}}; keepalive_requests 1000000000; keepalive_timeout 1h;
	proxy_temp_path {{.Dir}}/tmp; client_body_temp_path {{.Dir}}/tmp2;
	upstream backend { server 127.0.0.1:{{.Backend}}; keepalive 128; keepalive_requests 1000000000; }
	server {
		listen 127.0.0.1:{{.Port}}{{if .TLS}} ssl{{end}} backlog=4096;
		{{if .TLS}}ssl_certificate {{.Certificate}}; ssl_certificate_key {{.Key}}; ssl_protocols TLSv1.2 TLSv1.3;{{end}}
		server_name bench.test;
		{{range .Prefixes}}location {{.}} {
			proxy_pass http://backend/; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Request-Id $request_id;
		}
		{{end}}
	}
}
`

const haproxyConfig = `
global
	maxconn 9000
	nbthread 1
	{{if .AccessLog}}log stdout format raw local0{{end}}
defaults
	mode http
	timeout client 1h
	timeout server 1h
	timeout connect 10s
	option http-keep-alive
	option forwardfor
	{{if .AccessLog}}log global
	option httplog{{end}}
frontend edge
	bind 127.0.0.1:{{.Port}}{{if .TLS}} ssl crt {{.Dir}}/both.pem{{end}}
	unique-id-format %[uuid()]
	unique-id-header X-Request-Id
	default_backend backend
backend backend
	http-reuse always
	server one 127.0.0.1:{{.Backend}} maxconn 9000
`

// bootstrapConfig is for weft and Envoy alike: everything else comes from weft's xDS.
const bootstrapConfig = `
node: {id: bench, cluster: bench}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: {{.Admin}}}}}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: xds}}]
  cds_config: {resource_api_version: V3, ads: {}}
  lds_config: {resource_api_version: V3, ads: {}}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{.XDS}}}}}}]}]
`

// objects are what weft's xDS is made of.
const objects = `
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: default}
spec: {clusterIP: 10.96.0.1, selector: {app: backend}, ports: [{name: {{if .HTTP2}}grpc{{else}}http{{end}}, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: backend-1, namespace: default, labels: {kubernetes.io/service-name: backend}}
addressType: IPv4
ports: [{name: {{if .HTTP2}}grpc{{else}}http{{end}}, port: {{.Backend}}}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: edge, protocol: {{if .TLS}}HTTPS{{else}}HTTP{{end}}}
    hosts: ['*'] # load generators send no SNI
    {{if .TLS}}tls: {mode: SIMPLE, credentialName: bench}{{end}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec:
  hosts: [bench.test]
  gateways: [edge]
  http:
{{range .Prefixes}}  - {match: [{uri: {prefix: "{{.}}"}}], rewrite: {uri: /}, retries: {attempts: 0}, route: [{destination: {host: backend}}]}
{{end}}{{if .TLS}}---
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: {name: bench, namespace: edge}
data: {tls.crt: {{.CertificateBase64}}, tls.key: {{.KeyBase64}}}
{{end}}`
