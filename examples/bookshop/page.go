package main

import (
	"cmp"
	_ "embed"
	"html/template"
	"net/http"
)

// page is the shop as a browser shows it: the book, what is said of it, and who had a part in the page.
//
//go:embed page.html
var page string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"stars": func(n int) []struct{} { return make([]struct{}, n) }}).Parse(page))

func (s *service) storefrontPage(w http.ResponseWriter, r *http.Request) {
	a := s.storefront(r, cmp.Or(r.PathValue("id"), "1"))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set(servedBy, a.who())
	if !a.whole() {
		w.WriteHeader(http.StatusBadGateway)
	}
	pageTemplate.Execute(w, a)
}
