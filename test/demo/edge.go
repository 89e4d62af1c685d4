package demo

import (
	"context"
	"fmt"
	"math"
	"net"
	"strings"

	"github.com/weftmesh/weft/test/lab"
)

// Edge is the rows for examples/edge, which must be applied to the namespace beside examples/services: asked from outside, at the addresses of
// the gateway's Service.
func Edge(ctx context.Context, l *lab.Lab) ([]Try, error) {
	out, err := l.Kubectl(ctx, "get", "service", "-n", "weft-system", "weft-gateway", "-o", `jsonpath={.status.loadBalancer.ingress[*].ip}`)
	if err != nil {
		return nil, err
	}
	at, err := addresses(out)
	if err != nil {
		return nil, err
	}
	if len(at) != 2 {
		return nil, fmt.Errorf("the gateway has the addresses %v, want one of each family", at)
	}
	var tries []Try
	for _, a := range at {
		get := func(what, n, path string, want func(Answers) error, headers ...string) {
			args := []string{"echo", "get", "-n", n}
			for _, h := range headers {
				args = append(args, "-H", h)
			}
			tries = append(tries, Try{what + " " + ipv(a), lab.Outside, append(args, "http://"+net.JoinHostPort(a.String(), "80")+path), want})
		}
		get("Ingress /folder", "60", "/folder", Spread(3))
		get("Ingress /other", "40", "/other", Spread(2))
		get("Ingress, a path that nobody has", "3", "/nowhere", Status(404))
		get("Gateway: version 1 alone", "20", "/ping", Versions(map[string]float64{"v1": 1}), "Host:www.service1.io")
		get("Gateway: 90 to 10", "600", "/", Versions(map[string]float64{"v1": 0.9, "v2": 0.1}), "Host:split.example.org")
		get("Gateway: by header", "10", "/", Versions(map[string]float64{"v2": 1}), "Host:header.example.org", "x-user:jason")
		get("Gateway: without it", "10", "/", Versions(map[string]float64{"v1": 1}), "Host:header.example.org")
		tries = append(tries, Try{"Gateway: TLS " + ipv(a), lab.Outside, []string{"echo", "get", "-n", "10", "-k", "-H", "Host:secure.example.org", "https://" + net.JoinHostPort(a.String(), "443") + "/"},
			Versions(map[string]float64{"v2": 1})})
	}
	return tries, nil
}

// Versions wants that these versions answered, in these shares; five standard deviations are chance.
func Versions(shares map[string]float64) func(Answers) error {
	return func(a Answers) error {
		total, count := 0, map[string]int{}
		for answer, n := range a {
			f := strings.Fields(answer)
			if len(f) < 3 || f[0] != "200" {
				return fmt.Errorf("want answers of %v, got %v", shares, a)
			}
			total += n
			count[f[2]] += n
		}
		for version, share := range shares {
			want := share * float64(total)
			if math.Abs(float64(count[version])-want) > 5*math.Sqrt(want*(1-share)) || total == 0 {
				return fmt.Errorf("want %.0f of %d answers of %s, got %v", want, total, version, count)
			}
			delete(count, version)
		}
		if len(count) > 0 {
			return fmt.Errorf("want only %v, got also %v", shares, count)
		}
		return nil
	}
}

// Status wants that all answers have this status.
func Status(code int) func(Answers) error {
	return func(a Answers) error {
		for answer := range a {
			if !strings.HasPrefix(answer, fmt.Sprint(code)) {
				return fmt.Errorf("want status %d, got %v", code, a)
			}
		}
		if len(a) == 0 {
			return fmt.Errorf("want status %d, got nothing", code)
		}
		return nil
	}
}
