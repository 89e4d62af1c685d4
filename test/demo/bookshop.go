package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/weftmesh/weft/test/lab"
)

// Shop is the namespace of examples/bookshop.
const Shop = "bookshop"

// Where the bookshop's rows are asked from.
var (
	storefront = lab.Workload(Shop, "deployment/storefront-v1")
	scraper    = lab.Pod(Shop, "scraper")
	stranger   = lab.Pod("elsewhere", "stranger")
)

// ShopTrace is the trace that the demo's last request belongs to.
const ShopTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

// Bookshop is the rows for examples/bookshop, with all of its steps applied: from outside through a gateway, from its own Pods, and from Pods that are not
// to be let in.
func Bookshop(ctx context.Context, l *lab.Lab) ([]Try, error) {
	out, err := l.Kubectl(ctx, "get", "service", "-n", "weft-system", "weft-gateway", "-o", `jsonpath={.status.loadBalancer.ingress[*].ip}`)
	if err != nil {
		return nil, err
	}
	at, err := addresses(out)
	if err != nil {
		return nil, err
	}
	if len(at) == 0 {
		return nil, errors.New("the gateway has no address yet")
	}
	edge := func(args ...string) []string {
		return slices.Concat([]string{"bookshop", "get", "-H", "Host:bookshop.example.org"}, args, []string{"http://" + at[0].String() + "/api/books/1"})
	}
	jason := []string{"-H", "end-user:jason"}
	id := func(of string) string { return "<-spiffe://cluster.local/ns/" + of }
	get := func(url string) []string { return []string{"bookshop", "get", "-n", "3", url} }
	return []Try{
		{"canary: 90 to 10", lab.Outside, edge("-n", "400", "-c", "4"), Shares("reviews", map[string]float64{"v1": 0.9, "v2": 0.1})},
		{"jason sees version 2", lab.Outside, edge(append(jason, "-n", "20")...), Shares("reviews", map[string]float64{"v2": 1})},
		{"who called, as each service is told", lab.Outside, edge(append(jason, "-show", "peer")...), Lines("200 storefront/v1" + id("weft-system/sa/weft-gateway") +
			" catalog/v1" + id(Shop+"/sa/storefront") + " reviews/v2" + id(Shop+"/sa/storefront") + " ratings/v1" + id(Shop+"/sa/reviews"))},
		{"one trace through all services", lab.Outside, edge(append(jason, "-show", "trace", "-H", "traceparent:00-"+ShopTrace+"-00f067aa0ba902b7-01")...),
			Lines("200 storefront/v1@" + ShopTrace + " catalog/v1@" + ShopTrace + " reviews/v2@" + ShopTrace + " ratings/v1@" + ShopTrace)},
		{"the storefront by its own name", storefront, get("http://storefront:9080/api/books/1"), Status(200)},
		{"a server that speaks first, on a port that says tcp", storefront, []string{"bookshop", "stock", "-n", "5", "catalog:7070"}, Stocked},
		{"a server that speaks first, on a port that says nothing", storefront, []string{"bookshop", "stock", "-n", "5", "catalog:7071"}, Stocked},
		{"the scraper is denied", scraper, get("http://storefront:9080/api/books/1"), Lines("403 RBAC: access denied")},
		{"nobody has let the scraper see reviews", scraper, get("http://reviews:9080/reviews/1"), Lines("403 RBAC: access denied")},
		{"nor the stock", scraper, []string{"bookshop", "stock", "catalog:7070"}, Failing},
		{"a stranger without a certificate", stranger, get("http://reviews." + Shop + ":9080/reviews/1"), Failing},
		{"a stranger at the stock", stranger, []string{"bookshop", "stock", "catalog." + Shop + ":7070"}, Failing},
	}, nil
}

// Shares wants that every request was answered in full and that these versions of a service had a part in it, in these shares; five standard deviations are
// chance.
func Shares(service string, shares map[string]float64) func(Answers) error {
	return func(a Answers) error {
		total, count := 0, map[string]int{}
		for answer, n := range a {
			status, hops, _ := strings.Cut(answer, " ")
			if status != "200" {
				return fmt.Errorf("want whole answers, got %v", a)
			}
			total += n
			for hop := range strings.FieldsSeq(hops) {
				if of, version, _ := strings.Cut(hop, "/"); of == service {
					count[version] += n
				}
			}
		}
		seen := 0
		for version, share := range shares {
			want := share * float64(total)
			if math.Abs(float64(count[version])-want) > 5*math.Sqrt(want*(1-share)) {
				return fmt.Errorf("want %.0f of %d answers by %s %s, got %v", want, total, service, version, count)
			}
			seen += count[version]
		}
		if seen != total || total == 0 {
			return fmt.Errorf("want only %v of %s, got %v in %d answers", shares, service, count, total)
		}
		return nil
	}
}

// Stocked wants that every connection was greeted.
func Stocked(a Answers) error {
	for answer := range a {
		if !strings.HasPrefix(answer, "STOCK 1 42 catalog-") {
			return fmt.Errorf("want the stock, got %v", a)
		}
	}
	if len(a) == 0 {
		return errors.New("want the stock, got nothing")
	}
	return nil
}

// Failing wants that no request is answered, whatever becomes of its connection.
func Failing(a Answers) error {
	for answer := range a {
		if !strings.HasPrefix(answer, "error:") {
			return fmt.Errorf("want no answer, got %v", a)
		}
	}
	if len(a) == 0 {
		return errors.New("want attempts that failed, got none")
	}
	return nil
}
