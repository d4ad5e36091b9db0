package app

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"
)

//go:embed web
var web embed.FS

// pages are the parsed templates and the files of /static.
type pages struct {
	product, index *template.Template
	static         http.Handler
}

func loadPages() (*pages, error) {
	files, err := fs.Sub(web, "web")
	if err != nil {
		return nil, fmt.Errorf("embedded pages: %w", err)
	}
	parse := func(name string) (*template.Template, error) {
		return template.New(name).ParseFS(files, name, "layout.html")
	}
	var p pages
	if p.product, err = parse("productpage.html"); err != nil {
		return nil, fmt.Errorf("parse page: %w", err)
	}
	if p.index, err = parse("index.html"); err != nil {
		return nil, fmt.Errorf("parse page: %w", err)
	}
	static, err := fs.Sub(files, "static")
	if err != nil {
		return nil, fmt.Errorf("embedded files: %w", err)
	}
	p.static = cached(http.StripPrefix("/static/", http.FileServerFS(static)))
	return &p, nil
}

// cached lets browsers keep the style sheet and the picture for a while, so that
// reloading the page asks only for the page.
func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") { // no listings
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=300")
		next.ServeHTTP(w, r)
	})
}

// pageData is what the templates show.
type pageData struct {
	Title, Description string
	User               string
	Details            *BookDetails // nil when unavailable
	DetailsProblem     string
	Reviews            []reviewView
	ReviewsProblem     string
	ReviewsVersion     string
	Verdict            string // one sentence on what the stars tell about the version
	Hops               []hop
	NoDetails          string
	NoReviews          string
}

// reviewView is one review with its stars spelled out.
type reviewView struct {
	Reviewer, Text, Error string
	Color                 string // css class: black, red, "" for no stars
	Stars                 []bool // five, lit or not
	Label                 string // for those who do not see stars
}

// hop is one line of "who made this page".
type hop struct {
	Service, Version, Pod, Result, Took string
	Good                                bool
}

func (p *productPage) page(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	d, v := p.both(r)
	data := pageData{
		Title: bookTitle, Description: bookDescription, User: userOf(r),
		NoDetails: noDetails, NoReviews: noReviews,
	}
	data.addDetails(d)
	data.addReviews(v)
	data.Hops = append([]hop{{
		Service: "productpage", Version: p.cfg.Version, Pod: p.cfg.Pod, Result: "200 OK", Good: true,
		Took: duration(time.Since(start)),
	}}, data.Hops...)
	w.Header().Set("X-Bookinfo-Details", servedBy(d, data.Details != nil))
	w.Header().Set("X-Bookinfo-Reviews", servedBy(v, data.ReviewsProblem == ""))
	render(w, p.pages.product, data)
}

func (p *productPage) index(w http.ResponseWriter, r *http.Request) {
	render(w, p.pages.index, pageData{Title: "Bookinfo", User: userOf(r)})
}

// servedBy is a header's short word on who answered: its version, or "unavailable".
func servedBy(c call, good bool) string {
	switch {
	case !good:
		return "unavailable"
	case c.Version == "":
		return "unknown"
	}
	return c.Version
}

func (d *pageData) addDetails(c call) {
	var b BookDetails
	problem := c.problem()
	if problem == "" {
		if err := c.decode(&b); err != nil {
			problem = "an answer that could not be read"
		} else {
			d.Details = &b
		}
	}
	d.DetailsProblem = problem
	d.Hops = append(d.Hops, newHop("details", c, problem))
}

func (d *pageData) addReviews(c call) {
	var b BookReviews
	problem := c.problem()
	if problem == "" && c.decode(&b) != nil {
		problem = "an answer that could not be read"
	}
	d.ReviewsProblem = problem
	h := newHop("reviews", c, problem)
	h.Pod = orDefault(b.Pod, h.Pod)
	d.Hops = append(d.Hops, h)
	if problem != "" {
		return
	}
	d.ReviewsVersion = orDefault(b.Version, orDefault(c.Version, "?"))
	for _, rv := range b.Reviews {
		d.Reviews = append(d.Reviews, viewOf(rv))
	}
	d.Verdict = verdict(d.Reviews)
}

func newHop(service string, c call, problem string) hop {
	h := hop{
		Service: service, Version: orDefault(c.Version, "–"), Pod: orDefault(c.Pod, "–"),
		Result: problem, Took: duration(c.Took), Good: problem == "",
	}
	if h.Good {
		h.Result = "200 OK"
	}
	if c.Attempts > 1 {
		h.Result += fmt.Sprintf(" (%d tries)", c.Attempts)
	}
	return h
}

func viewOf(rv Review) reviewView {
	out := reviewView{Reviewer: rv.Reviewer, Text: rv.Text}
	if rv.Rating == nil {
		return out
	}
	out.Error = rv.Rating.Error
	if rv.Rating.Stars < 1 || rv.Rating.Stars > 5 {
		return out
	}
	out.Color = "black"
	if rv.Rating.Color == "red" {
		out.Color = "red"
	}
	for n := range 5 {
		out.Stars = append(out.Stars, n < rv.Rating.Stars)
	}
	out.Label = strconv.Itoa(rv.Rating.Stars) + " of 5 stars, " + out.Color
	return out
}

// verdict says what the look of the stars means.
func verdict(rs []reviewView) string {
	for _, r := range rs {
		switch {
		case r.Error != "":
			return "This version asks ratings for stars, and got none."
		case r.Color != "":
			return "This version asks ratings for stars and shows them in " + r.Color + "."
		}
	}
	return "This version shows no stars: it never asks ratings."
}

// duration prints d as a person would say it.
func duration(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", milliseconds(d))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// render writes a page; it is made in memory first, so that an error in it does
// not leave half a page.
func render(w http.ResponseWriter, t *template.Template, data pageData) {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		http.Error(w, "render page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	_, _ = w.Write(b.Bytes())
}
