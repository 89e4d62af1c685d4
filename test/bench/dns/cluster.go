package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"github.com/weftmesh/weft/internal/dns"
	"github.com/weftmesh/weft/internal/dns/zone"
	"github.com/weftmesh/weft/internal/model"
)

// The cluster: Service i is svc-i in namespace ns-(i/100), each tenth headless, with two endpoints.

func serviceName(i int) string   { return fmt.Sprintf("svc-%d", i) }
func namespaceName(i int) string { return fmt.Sprintf("ns-%d", i/100) }
func headless(i int) bool        { return i%10 == 0 }

func clusterIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}) }

func endpoint(i, j int) netip.Addr {
	k := 2*i + j
	return netip.AddrFrom4([4]byte{10, byte(128 + k>>16), byte(k >> 8), byte(k)})
}

// question is one kind of question, with all its instances as dnsperf reads them.
type question struct {
	name  string
	code  string
	lines []string
}

func questions(services int) []question {
	qs := []question{
		{name: "A", code: "NOERROR"}, {name: "AAAA", code: "NOERROR"}, {name: "headless", code: "NOERROR"}, {name: "SRV", code: "NOERROR"},
		{name: "PTR", code: "NOERROR"}, {name: "NXDOMAIN", code: "NXDOMAIN"},
	}
	for n := range services {
		i := n * 7919 % services // in no order
		full := serviceName(i) + "." + namespaceName(i) + ".svc.cluster.local."
		if headless(i) {
			qs[2].lines = append(qs[2].lines, full+" A")
		} else {
			a := clusterIP(i).As4()
			qs[0].lines = append(qs[0].lines, full+" A")
			qs[1].lines = append(qs[1].lines, full+" AAAA")
			qs[4].lines = append(qs[4].lines, fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa. PTR", a[3], a[2], a[1], a[0]))
		}
		qs[3].lines = append(qs[3].lines, "_http._tcp."+full+" SRV")
		qs[5].lines = append(qs[5].lines, serviceName(i)+".no."+namespaceName(i)+".svc.cluster.local. A") // what a search path makes of a name
	}
	return qs
}

// serveWeft is weft's side of the bench, as a process of its own.
func serveWeft(ctx context.Context, address string, services int) error {
	z, err := zone.New(zone.Config{TTL: 30 * time.Second})
	if err != nil {
		return err
	}
	for i := range services {
		s := &model.Service{
			Name:  model.ServiceName{Namespace: namespaceName(i), Name: serviceName(i)},
			Ports: []model.Port{{Name: "http", Protocol: model.TCP, Port: 80}},
		}
		if s.Kind = model.Headless; !headless(i) {
			s.Kind, s.ClusterIPs = model.VIP, []netip.Addr{clusterIP(i)}
		}
		p := model.PortEndpoints{Port: "http", Protocol: model.TCP}
		for j := range 2 {
			p.Endpoints = append(p.Endpoints, model.Endpoint{AddrPort: netip.AddrPortFrom(endpoint(i, j), 8080), Ready: true})
		}
		z.Set(s.Name, zone.RecordsOf("cluster.local", s, &model.Endpoints{Service: s.Name, Ports: []model.PortEndpoints{p}}))
	}
	srv, err := dns.Listen(ctx, dns.Config{Addresses: []string{address}, Zone: z})
	if err != nil {
		return err
	}
	srv.MarkReady()
	runtime.GC()
	return srv.Serve(ctx)
}

// serveAPI serves as much of the Kubernetes API as CoreDNS reads: lists that never change. It gives the address.
func serveAPI(ctx context.Context, services int) (string, error) {
	type object = map[string]any
	meta := func(namespace, name string) object {
		return object{"namespace": namespace, "name": name, "resourceVersion": "1", "uid": namespace + name}
	}
	var svcs, slices, spaces []object
	for i := range services {
		s := object{"metadata": meta(namespaceName(i), serviceName(i))}
		ip := "None"
		if !headless(i) {
			ip = clusterIP(i).String()
		}
		s["spec"] = object{"type": "ClusterIP", "clusterIP": ip, "clusterIPs": []string{ip}, "ports": []object{{"name": "http", "protocol": "TCP", "port": 80}}}
		svcs = append(svcs, s)
		m := meta(namespaceName(i), serviceName(i)+"-1")
		m["labels"] = object{"kubernetes.io/service-name": serviceName(i)}
		var eps []object
		for j := range 2 {
			eps = append(eps, object{"addresses": []string{endpoint(i, j).String()}, "conditions": object{"ready": true}})
		}
		slices = append(slices, object{"metadata": m, "addressType": "IPv4", "endpoints": eps, "ports": []object{{"name": "http", "protocol": "TCP", "port": 8080}}})
		if i%100 == 0 {
			spaces = append(spaces, object{"metadata": object{"name": namespaceName(i), "resourceVersion": "1"}})
		}
	}
	mux := http.NewServeMux()
	list := func(path, kind, version string, items []object) error {
		b, err := json.Marshal(object{"kind": kind, "apiVersion": version, "metadata": object{"resourceVersion": "1"}, "items": items})
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			q := r.URL.Query()
			switch {
			case q.Get("sendInitialEvents") != "":
				w.WriteHeader(http.StatusUnprocessableEntity)
				fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
			case q.Get("watch") != "":
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			default:
				_, _ = w.Write(b)
			}
		})
		return err
	}
	for _, l := range []struct {
		path, kind, version string
		items               []object
	}{
		{"/api/v1/services", "ServiceList", "v1", svcs}, {"/api/v1/namespaces", "NamespaceList", "v1", spaces},
		{"/apis/discovery.k8s.io/v1/endpointslices", "EndpointSliceList", "discovery.k8s.io/v1", slices},
	} {
		if err := list(l.path, l.kind, l.version, l.items); err != nil {
			return "", err
		}
	}
	answer := func(path, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, body)
		})
	}
	answer("/version", `{"major":"1","minor":"35","gitVersion":"v1.35.0"}`)
	answer("/apis/discovery.k8s.io/v1", `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"discovery.k8s.io/v1","resources":[{"name":"endpointslices","namespaced":true,"kind":"EndpointSlice","verbs":["list","watch"]}]}`)

	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: mux}
	context.AfterFunc(ctx, func() { srv.Close() })
	go func() { _ = srv.Serve(l) }()
	return l.Addr().String(), nil
}
