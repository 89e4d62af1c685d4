package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// books are all that the shop has.
var books = map[string]Book{
	"1": {ID: "1", Title: "The Comedy of Errors", Author: "William Shakespeare", Year: 1594},
	"2": {ID: "2", Title: "Flatland", Author: "Edwin A. Abbott", Year: 1884},
	"3": {ID: "3", Title: "The Loom of Youth", Author: "Alec Waugh", Year: 1917},
}

func (s *service) answerBook(w http.ResponseWriter, r *http.Request) {
	a := Answer{Hops: []Hop{s.self(r)}}
	book, ok := books[r.PathValue("id")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	a.Book = &book
	write(w, a)
}

func (s *service) answerReviews(w http.ResponseWriter, r *http.Request) {
	a := Answer{Hops: []Hop{s.self(r)}, Reviews: []Review{
		{By: "Antipholus", Text: "Two of everything, and nobody notices until the last page."},
		{By: "Dromio", Text: "I was beaten twice for the same errand. Five acts too many."},
	}}
	if s.ratings != "" {
		a.take(s.ask(r, "ratings", s.ratings+"/ratings/"+url.PathEscape(r.PathValue("id"))))
		for i, review := range a.Reviews {
			a.Reviews[i].Stars = a.Ratings[review.By]
		}
	}
	write(w, a)
}

func (s *service) answerRatings(w http.ResponseWriter, r *http.Request) {
	write(w, Answer{Hops: []Hop{s.self(r)}, Ratings: map[string]int{"Antipholus": 5, "Dromio": 2}})
}

// storefront asks the others, at the same time.
func (s *service) storefront(r *http.Request, id string) Answer {
	var book, reviews Answer
	var group sync.WaitGroup
	group.Go(func() { book = s.ask(r, "catalog", s.catalog+"/books/"+url.PathEscape(id)) })
	group.Go(func() { reviews = s.ask(r, "reviews", s.reviews+"/reviews/"+url.PathEscape(id)) })
	group.Wait()
	a := Answer{Hops: []Hop{s.self(r)}}
	a.take(book)
	a.take(reviews)
	return a
}

func (s *service) storefrontJSON(w http.ResponseWriter, r *http.Request) {
	write(w, s.storefront(r, r.PathValue("id")))
}

// ask asks another service on behalf of a request, and passes on what belongs to it.
func (s *service) ask(r *http.Request, name, target string) Answer {
	a, err := s.fetch(r.Context(), r.Header, target)
	if err != nil {
		return Answer{Hops: []Hop{{Service: name, Error: err.Error()}}}
	}
	return a
}

func (s *service) fetch(ctx context.Context, header http.Header, target string) (a Answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return a, err
	}
	passOn(req.Header, header)
	resp, err := s.client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return a, err
	}
	if json.Unmarshal(body, &a) != nil || len(a.Hops) == 0 {
		return a, fmt.Errorf("%s: %s", resp.Status, firstLine(string(body)))
	}
	return a, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
