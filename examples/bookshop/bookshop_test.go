package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// shop runs the four services on loopback and gives the storefront's URL.
func shop(t *testing.T, reviewsVersion string) string {
	t.Helper()
	start := func(s *service) string {
		s.client = http.DefaultClient
		if s.version == "" {
			s.version = "v1"
		}
		server := httptest.NewServer(s.handler())
		t.Cleanup(server.Close)
		return server.URL
	}
	reviews := &service{name: "reviews", version: reviewsVersion}
	if reviewsVersion == "v2" {
		reviews.ratings = start(&service{name: "ratings"})
	}
	return start(&service{name: "storefront", catalog: start(&service{name: "catalog"}), reviews: start(reviews)})
}

func ask(t *testing.T, url string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// A trace's ID comes to every service, by each of the ways to say it, and version 2 has stars.
func TestEveryServiceHasAPartAndTheTrace(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for name, header := range map[string]http.Header{
		"W3C":         {"Traceparent": {"00-" + id + "-00f067aa0ba902b7-01"}},
		"B3, one":     {"B3": {id + "-00f067aa0ba902b7-1"}},
		"B3, several": {"X-B3-Traceid": {id}, "X-B3-Spanid": {"00f067aa0ba902b7"}},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := ask(t, shop(t, "v2")+"/api/books/1", header)
			if got, want := resp.Header.Get(servedBy), "storefront/v1 catalog/v1 reviews/v2 ratings/v1"; got != want || resp.StatusCode != 200 {
				t.Errorf("%s: served by %q, want %q", resp.Status, got, want)
			}
			var a Answer
			if err := json.Unmarshal([]byte(body), &a); err != nil {
				t.Fatal(err)
			}
			for _, h := range a.Hops {
				if h.Trace != id {
					t.Errorf("%s has the trace %q", h.Service, h.Trace)
				}
			}
			if a.Book == nil || len(a.Reviews) != 2 || a.Reviews[0].Stars != 5 {
				t.Errorf("got %s", body)
			}
		})
	}
}

// Without its catalog the shop says so, and does not look well.
func TestAMissingServiceIsSaid(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	defer closed.Close()
	s := &service{name: "storefront", version: "v1", client: http.DefaultClient, catalog: closed.URL, reviews: closed.URL}
	server := httptest.NewServer(s.handler())
	defer server.Close()
	for _, path := range []string{"/api/books/1", "/"} {
		resp, body := ask(t, server.URL+path, nil)
		if resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, "404 Not Found") {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
}

func TestPage(t *testing.T) {
	resp, body := ask(t, shop(t, "v2")+"/", http.Header{"X-Forwarded-Client-Cert": {`By=x;URI=spiffe://cluster.local/ns/a/sa/b`}})
	for _, want := range []string{"The Comedy of Errors", "★★★★★", "spiffe://cluster.local/ns/a/sa/b", "ratings v1"} {
		if resp.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: want %q in %s", resp.Status, want, body)
		}
	}
}

func TestPeer(t *testing.T) {
	for value, want := range map[string]string{
		"": "",
		"By=spiffe://x/ns/a/sa/b;Hash=00;Subject=\"\";URI=spiffe://x/ns/c/sa/d":              "spiffe://x/ns/c/sa/d",
		`URI=spiffe://far,By=y;Subject="CN=a,URI=spiffe://forged;O=\"b\"";URI=spiffe://near`: "spiffe://near",
		`Subject="/C=US/CN=URI=spiffe://forged",Hash=1`:                                      "",
		`By=y;URI="spiffe://quoted"`:                                                         "spiffe://quoted",
	} {
		h := http.Header{}
		if value != "" {
			h.Set("X-Forwarded-Client-Cert", value)
		}
		if got := peer(h); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// What is in flight when a service is told to end is answered, and so is what still comes for a moment.
func TestServeFinishesWhatIsInFlight(t *testing.T) {
	arrived, answer := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-answer
		write(w, Answer{Hops: []Hop{{Service: "ratings", Version: "v1"}}})
	}))
	defer slow.Close()
	address := freeport.Hold(t).String()
	ctx, end := context.WithCancel(t.Context())
	served, got := make(chan error, 1), make(chan string, 1)
	go func() {
		served <- serve(ctx, "reviews", []string{"-http", address, "-ratings", slow.URL, "-linger", "0"})
	}()
	go func() {
		for {
			resp, err := http.Get("http://" + address + "/reviews/1")
			if err == nil {
				resp.Body.Close()
				got <- resp.Status + " " + resp.Header.Get(servedBy)
				return
			}
			if t.Context().Err() != nil {
				return
			}
		}
	}()
	<-arrived
	end()
	select {
	case err := <-served:
		t.Fatal("it ended with a request in flight: ", err)
	case status := <-got:
		t.Fatal("answered early: ", status)
	default:
	}
	close(answer)
	if status := <-got; status != "200 OK reviews/v1 ratings/v1" {
		t.Errorf("got %q", status)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// The load generator holds its bound, counts by who answered, and calls a server's error a failure.
func TestLoad(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(servedBy, "reviews/"+r.Header.Get("End-User"))
		if r.URL.Path == "/bad" {
			w.WriteHeader(503)
		}
	}))
	defer server.Close()
	l := rate{rps: 1000, took: 50 * time.Millisecond, limit: 100, of: asker{client: http.DefaultClient, url: server.URL, header: list{"end-user: v2"}}}
	r := l.run(t.Context())
	if r.asked+r.left != 50 || r.who["reviews/v2"] != r.asked || r.bad() != 0 || len(r.latencies) != r.asked {
		t.Errorf("asked %d, left %d, served %v, failed %v", r.asked, r.left, r.who, r.failures)
	}
	l.of.url = server.URL + "/bad"
	if r := l.run(t.Context()); r.bad() != r.asked || r.asked == 0 {
		t.Errorf("%d of %d failed, want all", r.bad(), r.asked)
	}
	var out strings.Builder
	r.print(&out)
	for _, want := range []string{"status ", " 200", "served ", "reviews/v2", "p99"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in\n%s", want, &out)
		}
	}
}

// A server that speaks first is heard without a word of the client.
func TestStock(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go (&service{pod: "catalog-x"}).tellStock(l)
	if got, err := greeting(t.Context(), l.Addr().String(), 5*time.Second); err != nil || got != "STOCK 1 42 catalog-x" {
		t.Errorf("%q, %v", got, err)
	}
}
