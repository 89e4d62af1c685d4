package main

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Hop is one service's part in an answer.
type Hop struct {
	Service string `json:"service"`
	Version string `json:"version"`
	Pod     string `json:"pod"`
	Peer    string `json:"peer,omitempty"`  // the identity that called, as the service was told
	Trace   string `json:"trace,omitempty"` // the trace that the request belongs to
	Error   string `json:"error,omitempty"` // why there is nothing of this service
}

// Book is what the catalog knows of a book.
type Book struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Author string `json:"author"`
	Year   int    `json:"year"`
}

// Review is what somebody says of a book.
type Review struct {
	By    string `json:"by"`
	Text  string `json:"text"`
	Stars int    `json:"stars,omitempty"` // of five; 0: version 1 asks nobody for stars
}

// Answer is what every service answers: its own part, and what it was told by those that it asked.
type Answer struct {
	Hops    []Hop          `json:"hops"`
	Book    *Book          `json:"book,omitempty"`
	Reviews []Review       `json:"reviews,omitempty"`
	Ratings map[string]int `json:"ratings,omitempty"` // stars by who gave them
}

// servedBy is the header field that names who had a part in an answer, for those who do not read it: "storefront/v1 reviews/v2".
const servedBy = "Served-By"

// who is the value of Served-By.
func (a Answer) who() string {
	var out []string
	for _, h := range a.Hops {
		if h.Error == "" {
			out = append(out, h.Service+"/"+h.Version)
		}
	}
	return strings.Join(out, " ")
}

// whole tells whether every service that was asked has answered.
func (a Answer) whole() bool {
	for _, h := range a.Hops {
		if h.Error != "" {
			return false
		}
	}
	return true
}

// take adds what another service answered.
func (a *Answer) take(b Answer) {
	a.Hops = append(a.Hops, b.Hops...)
	if b.Book != nil {
		a.Book = b.Book
	}
	a.Reviews = append(a.Reviews, b.Reviews...)
	if b.Ratings != nil {
		a.Ratings = b.Ratings
	}
}

// self is the service's own part in the answer to a request, which it counts.
func (s *service) self(r *http.Request) Hop {
	s.asked.Add(1)
	return Hop{Service: s.name, Version: s.version, Pod: s.pod, Peer: peer(r.Header), Trace: trace(r.Header)}
}

// write sends an answer; one that is not whole has the status of a gateway whose upstream failed.
func write(w http.ResponseWriter, a Answer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(servedBy, a.who())
	if !a.whole() {
		w.WriteHeader(http.StatusBadGateway)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.Encode(a)
}
