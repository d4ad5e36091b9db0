package app

import (
	"context"
	"net/http"
	"strconv"
	"sync"
)

// Product is one entry of GET /api/v1/products.
type Product struct {
	ID              int    `json:"id"`
	Title           string `json:"title"`
	DescriptionHTML string `json:"descriptionHtml"`
}

const (
	bookTitle = "The Comedy of Errors"
	// In our own words; the page and the JSON API use the same text.
	bookDescription = "Two pairs of twins, parted as babies by a shipwreck, grow up in two cities that are not on " +
		"speaking terms. One day both pairs walk through the same streets of Ephesus, and nobody knows it. " +
		"Dinners are eaten with the wrong husband, gold chains go to the wrong neck, debts to the wrong man, " +
		"and every honest answer makes matters worse until all four stand in one place."
)

// Texts of the API when a service does not answer; the page says the same.
const (
	noDetails = "Sorry, product details are currently unavailable for this book."
	noReviews = "Sorry, product reviews are currently unavailable for this book."
	noStars   = "Sorry, product ratings are currently unavailable for this book."
)

// productPage serves the page and the JSON API over the other services.
type productPage struct {
	cfg    Config
	client *client
	pages  *pages
}

func newProductPage(cfg Config) (http.Handler, error) {
	ps, err := loadPages()
	if err != nil {
		return nil, err
	}
	p := &productPage{cfg: cfg, client: newClient(cfg), pages: ps}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /index.html", p.index)
	mux.HandleFunc("GET /productpage", p.page)
	mux.HandleFunc("POST /login", login)
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/productpage#sign-in", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /logout", logout)
	mux.Handle("GET /static/", ps.static)
	mux.HandleFunc("GET /api/v1/products", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, []Product{theBook()})
	})
	mux.HandleFunc("GET /api/v1/products/{id}", p.api(p.details, noDetails))
	mux.HandleFunc("GET /api/v1/products/{id}/reviews", p.api(p.reviews, noReviews))
	mux.HandleFunc("GET /api/v1/products/{id}/ratings", p.api(p.ratings, noStars))
	return mux, nil
}

func theBook() Product {
	return Product{ID: 0, Title: bookTitle, DescriptionHTML: "<p>" + bookDescription + "</p>"}
}

// headers are those of r to pass on, with the signed-in user. A client without a
// session (curl, a load generator) may name its user in end-user itself.
func (p *productPage) headers(r *http.Request) http.Header {
	h := forwardHeaders(r.Header)
	if user := userOf(r); user != "" {
		h.Set("End-User", user)
	}
	return h
}

func (p *productPage) details(ctx context.Context, id int, h http.Header) call {
	return p.client.get(ctx, p.cfg.DetailsURL+"/details/"+strconv.Itoa(id), h, productTimeout, 1)
}

// reviews is asked twice: the second try, inside the application, is what makes
// the injected delay visible as an error after 6 s instead of 3.
func (p *productPage) reviews(ctx context.Context, id int, h http.Header) call {
	return p.client.get(ctx, p.cfg.ReviewsURL+"/reviews/"+strconv.Itoa(id), h, productTimeout, 2)
}

func (p *productPage) ratings(ctx context.Context, id int, h http.Header) call {
	return p.client.get(ctx, p.cfg.RatingsURL+"/ratings/"+strconv.Itoa(id), h, productTimeout, 1)
}

// api answers with another service's JSON and status, or with text as the error.
func (p *productPage) api(ask func(context.Context, int, http.Header) call, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, ok := productID(w, r)
		if !ok {
			return
		}
		res := ask(r.Context(), id, p.headers(r))
		switch {
		case res.ok():
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(res.Body)
		case res.Status >= 400:
			writeError(w, res.Status, text)
		default:
			writeError(w, http.StatusInternalServerError, text)
		}
	}
}

// both asks details and reviews side by side: neither needs the other.
func (p *productPage) both(r *http.Request) (details, reviews call) {
	h := p.headers(r)
	var wg sync.WaitGroup
	wg.Go(func() { details = p.details(r.Context(), 0, h) })
	wg.Go(func() { reviews = p.reviews(r.Context(), 0, h) })
	wg.Wait()
	return details, reviews
}
