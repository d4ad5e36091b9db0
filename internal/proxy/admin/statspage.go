package admin

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"github.com/meshctl/meshctl/internal/proxy/stats"
)

// maxPattern bounds regular expressions of queries, in bytes. They run in linear
// time, but compiling takes memory.
const maxPattern = 1024

// pattern compiles a regular expression of a query; nil for none.
func pattern(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxPattern {
		return nil, fmt.Errorf("regular expression of %d bytes, at most %d", len(text), maxPattern)
	}
	return regexp.Compile(text)
}

func (s *Server) stats(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f, err := pattern(q.Get("filter"))
	if err != nil {
		http.Error(w, "filter: "+err.Error(), http.StatusBadRequest)
		return
	}
	query := stats.Query{Used: q.Has("usedonly"), Filter: f}
	switch format := q.Get("format"); format {
	case "", "text":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		s.stream(w, func(b io.Writer) error { return s.o.Stats.WriteText(b, query) })
	case "json":
		w.Header().Set("Content-Type", "application/json")
		s.stream(w, func(b io.Writer) error { return s.o.Stats.WriteJSON(b, query) })
	case "prometheus":
		s.prometheus(w, r)
	default:
		http.Error(w, fmt.Sprintf("format %q is not known: text, json, prometheus", format), http.StatusBadRequest)
	}
}

func (s *Server) prometheus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	s.stream(w, s.o.Stats.WriteMetrics)
}

// stream writes an answer in pieces. An error then means that the client is gone.
func (s *Server) stream(w io.Writer, write func(io.Writer) error) {
	b := bufio.NewWriterSize(w, 64<<10)
	err := write(b)
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		s.o.Logger.Debug("admin answer not written", "err", err)
	}
}
