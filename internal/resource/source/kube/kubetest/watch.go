package kubetest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// watch streams changes after a version, beginning with all objects when the
// client asks for that.
func (a *API) watch(w http.ResponseWriter, r *http.Request, req request) {
	q := r.URL.Query()
	after, _ := strconv.ParseUint(q.Get("resourceVersion"), 10, 64)
	out := &stream{w: w, req: req}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	a.mu.Lock()
	if q.Get("sendInitialEvents") == "true" {
		after = a.version
		for _, name := range slices.Sorted(maps.Keys(a.objects[req.kind.key()])) {
			if o := a.objects[req.kind.key()][name]; req.takes(o) {
				out.send("ADDED", req.as(o))
			}
		}
		out.bookmark(after, true)
	}
	for {
		stop := a.down || after < a.oldest || a.forbid != nil && a.forbid("watch", req.kind.group, req.kind.plural, req.namespace)
		if after < a.oldest {
			out.send("ERROR", statusObject(http.StatusGone, "Expired", "too old resource version"))
		}
		if stop {
			a.mu.Unlock()
			break
		}
		i, _ := slices.BinarySearchFunc(a.log, after+1, func(e event, v uint64) int { return int(e.version) - int(v) })
		events, moved := a.log[i:], a.moved
		after = a.version
		a.mu.Unlock()
		for _, e := range events {
			out.event(e)
		}
		out.flush()
		select {
		case <-r.Context().Done():
			return
		case <-moved:
		}
		a.mu.Lock()
	}
	out.flush()
}

// stream writes the events of one watch.
type stream struct {
	w   http.ResponseWriter
	req request
}

// event tells of a change as far as it is in what was asked for.
func (s *stream) event(e event) {
	if e.kind.key() != s.req.kind.key() {
		return
	}
	was, is := s.req.takes(e.previous), e.what != "DELETED" && s.req.takes(e.object)
	switch {
	case was && is:
		s.send("MODIFIED", s.req.as(e.object))
	case is:
		s.send("ADDED", s.req.as(e.object))
	case was:
		s.send("DELETED", s.req.as(e.object))
	}
}

func (s *stream) bookmark(version uint64, end bool) {
	meta := Object{"resourceVersion": strconv.FormatUint(version, 10)}
	if end {
		meta["annotations"] = Object{"k8s.io/initial-events-end": "true"}
	}
	s.send("BOOKMARK", s.req.as(Object{"metadata": meta}))
}

func (s *stream) send(what string, o Object) {
	b, err := json.Marshal(Object{"type": what, "object": o})
	if err != nil {
		panic(err) // JSON that came in as JSON
	}
	_, _ = s.w.Write(append(b, '\n'))
}

func (s *stream) flush() {
	if f, ok := s.w.(http.Flusher); ok {
		f.Flush()
	}
}
