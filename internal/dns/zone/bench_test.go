package zone

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/internal/dns/wire"
	"github.com/weftmesh/weft/internal/model"
)

// cluster fills a zone with n Services in n/100 namespaces, each tenth headless, each with that many endpoints.
func cluster(z *Zone, n, endpoints int) {
	for i := range n {
		s := &model.Service{
			Name:  model.ServiceName{Namespace: fmt.Sprintf("ns-%d", i/100), Name: fmt.Sprintf("svc-%d", i)},
			Ports: []model.Port{{Name: "http", Protocol: model.TCP, Port: 80}}, Origin: origin(fmt.Sprint(i)),
		}
		e := &model.Endpoints{Ports: []model.PortEndpoints{{Port: "http", Protocol: model.TCP}}}
		if i%10 == 0 {
			s.Kind = model.Headless
		} else {
			s.ClusterIPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}
		}
		for j := range endpoints {
			k := i*endpoints + j
			e.Ports[0].Endpoints = append(e.Ports[0].Endpoints, at(fmt.Sprintf("10.%d.%d.%d:8080", 128+k>>16, byte(k>>8), byte(k)), "", true))
		}
		z.Set(s.Name, RecordsOf(domain, s, e))
	}
}

func BenchmarkAnswer(b *testing.B) {
	z := newZone(b, Config{})
	cluster(z, 10000, 2)
	for _, c := range []struct {
		what, name string
		typ        uint16
	}{
		{"A", "svc-4321.ns-43.svc.cluster.local.", dns.TypeA},
		{"AAAA-nodata", "svc-4321.ns-43.svc.cluster.local.", dns.TypeAAAA},
		{"headless", "svc-4320.ns-43.svc.cluster.local.", dns.TypeA},
		{"SRV", "_http._tcp.svc-4321.ns-43.svc.cluster.local.", dns.TypeSRV},
		{"PTR", "225.16.96.10.in-addr.arpa.", dns.TypePTR},
		{"NXDOMAIN", "www.example.com.ns-43.svc.cluster.local.", dns.TypeA},
	} {
		b.Run(c.what, func(b *testing.B) {
			in := new(dns.Msg)
			in.SetQuestion(c.name, c.typ)
			in.SetEdns0(1232, false)
			packed, err := in.Pack()
			if err != nil {
				b.Fatal(err)
			}
			var q wire.Query
			var m wire.Message
			buf := make([]byte, 1232)
			b.ReportAllocs()
			for b.Loop() {
				q.Parse(packed)
				m.Begin(buf, len(buf), &q, 1232)
				res := z.Answer(&q, &m)
				if !res.Ours {
					b.Fatal("not ours")
				}
				m.End(res.Code, wire.FlagAA)
			}
		})
	}
}

// BenchmarkChange replaces one endpoint of a headless Service; it must not grow with the cluster.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			z := newZone(b, Config{})
			cluster(z, n, 20)
			s := &model.Service{Name: model.ServiceName{Namespace: "ns-0", Name: "svc-0"}, Kind: model.Headless}
			var r [2]*Records
			for v := range r {
				e := &model.Endpoints{Ports: []model.PortEndpoints{{Port: "http", Protocol: model.TCP}}}
				for i := range 20 {
					e.Ports[0].Endpoints = append(e.Ports[0].Endpoints, at(fmt.Sprintf("10.1.%d.%d:80", v*(i/19), i), "", true))
				}
				r[v] = RecordsOf(domain, s, e)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if !z.Set(s.Name, r[i%2]) {
					b.Fatal("no change")
				}
			}
		})
	}
}

// BenchmarkMemory reports what a zone of 10,000 Services holds.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		z := newZone(b, Config{})
		cluster(z, 10000, 2)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		runtime.KeepAlive(z)
	}
}
