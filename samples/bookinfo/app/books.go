package app

import "net/http"

// catalogueBook is the answer of GET /books/{isbn} of the shop outside.
type catalogueBook struct {
	ISBN      string `json:"isbn"`
	Title     string `json:"title"`
	Author    string `json:"author"`
	Year      int    `json:"year"`
	Pages     int    `json:"pages"`
	Publisher string `json:"publisher"`
	Language  string `json:"language"`
}

// newBooks serves the catalogue of a shop that is not part of the mesh.
func newBooks() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /books/{isbn}", func(w http.ResponseWriter, r *http.Request) {
		isbn := r.PathValue("isbn")
		if isbn != builtinDetails(0).ISBN10 {
			writeError(w, http.StatusNotFound, "no book has this ISBN")
			return
		}
		writeJSON(w, http.StatusOK, catalogueBook{
			ISBN: isbn, Title: "The Comedy of Errors", Author: "William Shakespeare", Year: 1623,
			Pages: 16, Publisher: "The Shop Outside", Language: "Early Modern English",
		})
	})
	return mux
}
