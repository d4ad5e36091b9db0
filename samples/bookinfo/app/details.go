package app

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// BookDetails is the answer of GET /details/{id}.
type BookDetails struct {
	ID        int    `json:"id"`
	Author    string `json:"author"`
	Year      int    `json:"year"`
	Type      string `json:"type"`
	Pages     int    `json:"pages"`
	Publisher string `json:"publisher"`
	Language  string `json:"language"`
	ISBN10    string `json:"ISBN-10"`
	ISBN13    string `json:"ISBN-13"`
}

func builtinDetails(id int) BookDetails {
	return BookDetails{
		ID: id, Author: "William Shakespeare", Year: 1595, Type: "paperback", Pages: 200,
		Publisher: "PublisherA", Language: "English", ISBN10: "1234567890", ISBN13: "123-1234567890",
	}
}

// newDetails serves the facts about a book: built in, or asked from a catalogue
// outside of the mesh (EXTERNAL_BOOKS_URL), which is the egress sample.
func newDetails(cfg Config) http.Handler {
	c := newClient(cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /details/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, ok := productID(w, r)
		if !ok {
			return
		}
		d := builtinDetails(id)
		if cfg.ExternalBooksURL != "" {
			if err := askCatalogue(c, cfg.ExternalBooksURL, r, &d); err != nil {
				writeError(w, http.StatusBadGateway, "the catalogue outside gave no details: "+err.Error())
				return
			}
		}
		writeJSON(w, http.StatusOK, d)
	})
	return mux
}

// askCatalogue overwrites the parts of d that the catalogue knows. The user's
// headers stay inside: only those of the trace leave the mesh.
func askCatalogue(c *client, base string, r *http.Request, d *BookDetails) error {
	u, err := url.JoinPath(base, "books", d.ISBN10)
	if err != nil {
		return fmt.Errorf("address of the catalogue: %w", err)
	}
	h := forwardHeaders(r.Header)
	for _, private := range []string{"Cookie", "Authorization", "Jwt", "End-User"} {
		h.Del(private)
	}
	res := c.get(r.Context(), u, h, productTimeout, 1)
	if !res.ok() {
		return fmt.Errorf("%s", res.problem())
	}
	var b catalogueBook
	if err := res.decode(&b); err != nil {
		return err
	}
	d.Author, d.Year, d.Pages = b.Author, b.Year, b.Pages
	d.Publisher, d.Language = b.Publisher, b.Language
	return nil
}

// productID reads {id}; when it is not a number it answers 400 and reports false.
func productID(w http.ResponseWriter, r *http.Request) (int, bool) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || id < 0 {
		writeError(w, http.StatusBadRequest, "please provide numeric product id")
		return 0, false
	}
	return id, true
}
