package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// service is one of the four, and whom it asks.
type service struct {
	name, version, pod        string
	catalog, reviews, ratings string // URLs without a path
	client                    *http.Client
	asked                     atomic.Uint64
}

// serve answers until ctx ends. Then it goes on for a moment, so that nobody who was still sent here is turned away, and finishes what is in flight.
func serve(ctx context.Context, name string, args []string) error {
	pod, _ := os.Hostname()
	s := &service{name: name, version: cmp.Or(os.Getenv("VERSION"), "v1"), pod: cmp.Or(os.Getenv("POD_NAME"), pod)}
	httpAddr, stockAddrs, linger := ":9080", list{}, 3*time.Second
	parse(name, args, func(fs *flag.FlagSet) {
		fs.StringVar(&httpAddr, "http", httpAddr, "answer HTTP here")
		fs.StringVar(&s.version, "version", s.version, "what the answers say; $VERSION if it is not given")
		fs.DurationVar(&linger, "linger", linger, "go on this long after SIGTERM")
		switch name {
		case "storefront":
			fs.StringVar(&s.catalog, "catalog", "http://catalog:9080", "where the catalog is")
			fs.StringVar(&s.reviews, "reviews", "http://reviews:9080", "where reviews are")
		case "reviews":
			fs.StringVar(&s.ratings, "ratings", "", "where ratings are; without them reviews have no stars")
		case "catalog":
			fs.Var(&stockAddrs, "stock", "greet TCP connections here with what is in stock")
		}
	})
	s.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}}

	web := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	listener, err := net.Listen("tcp", httpAddr)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	defer group.Wait()
	var stocks []net.Listener
	for _, a := range stockAddrs {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		stocks = append(stocks, l)
		group.Go(func() { s.tellStock(l) })
	}
	failed := make(chan error, 1)
	group.Go(func() {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	})
	select {
	case err = <-failed:
	case <-ctx.Done():
		<-time.After(linger)
	}
	for _, l := range stocks {
		l.Close()
	}
	drain, done := context.WithTimeout(context.Background(), 20*time.Second)
	defer done()
	return errors.Join(err, web.Shutdown(drain))
}

// handler is what the service answers. /healthz is for probes and says nothing of anybody; /metrics is for Prometheus.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "# TYPE bookshop_requests_total counter\nbookshop_requests_total{service=%q,version=%q} %d\n", s.name, s.version, s.asked.Load())
	})
	switch s.name {
	case "storefront":
		mux.HandleFunc("GET /api/books/{id}", s.storefrontJSON)
		mux.HandleFunc("GET /books/{id}", s.storefrontPage)
		mux.HandleFunc("GET /{$}", s.storefrontPage)
	case "catalog":
		mux.HandleFunc("GET /books/{id}", s.answerBook)
	case "reviews":
		mux.HandleFunc("GET /reviews/{id}", s.answerReviews)
	case "ratings":
		mux.HandleFunc("GET /ratings/{id}", s.answerRatings)
	}
	return mux
}
