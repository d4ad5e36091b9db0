package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// BookRatings is the answer of GET and POST /ratings/{id}.
type BookRatings struct {
	ID      int            `json:"id"`
	Ratings map[string]int `json:"ratings"`
}

// Bounds of what can be stored; memory is all there is.
const (
	maxRatedProducts = 1000
	maxReviewers     = 100
	maxReviewerName  = 64
)

// The delay and the failure of the versions that misbehave on purpose.
const (
	delayedVersionDelay = 7 * time.Second
	unavailablePeriod   = time.Minute
)

// ratings keeps stars by product and reviewer, in memory.
type ratings struct {
	mu     sync.Mutex
	posted map[int]map[string]int
}

// newRatings serves the stars. The versions v-faulty (every second request
// fails), v-delayed (every second one takes 7 s) and v-unavailable (fails for
// every second minute) are for trying retries, timeouts and outlier detection.
func newRatings(cfg Config) http.Handler {
	rt := &ratings{posted: map[int]map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ratings/{id}", misbehave(cfg.Version, rt.get))
	mux.HandleFunc("POST /ratings/{id}", rt.post)
	return mux
}

func (rt *ratings) get(w http.ResponseWriter, r *http.Request) {
	id, ok := productID(w, r)
	if !ok {
		return
	}
	rt.mu.Lock()
	stars := maps.Clone(rt.posted[id])
	rt.mu.Unlock()
	if stars == nil {
		stars = map[string]int{reviewer1: 5, reviewer2: 4}
	}
	writeJSON(w, http.StatusOK, BookRatings{ID: id, Ratings: stars})
}

func (rt *ratings) post(w http.ResponseWriter, r *http.Request) {
	id, ok := productID(w, r)
	if !ok {
		return
	}
	var stars map[string]int
	if err := json.NewDecoder(r.Body).Decode(&stars); err != nil {
		writeError(w, http.StatusBadRequest, "please provide valid ratings JSON")
		return
	}
	if err := checkRatings(stars); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	if !rt.store(id, stars) {
		writeError(w, http.StatusInsufficientStorage, "no room for ratings of another product")
		return
	}
	writeJSON(w, http.StatusOK, BookRatings{ID: id, Ratings: stars})
}

// store keeps stars and reports whether there was room.
func (rt *ratings) store(id int, stars map[string]int) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if _, known := rt.posted[id]; !known && len(rt.posted) >= maxRatedProducts {
		return false
	}
	rt.posted[id] = stars
	return true
}

func checkRatings(stars map[string]int) error {
	if len(stars) == 0 || len(stars) > maxReviewers {
		return fmt.Errorf("please provide between 1 and %d ratings", maxReviewers)
	}
	for name, n := range stars {
		if name == "" || len(name) > maxReviewerName {
			return fmt.Errorf("a reviewer's name has between 1 and %d bytes", maxReviewerName)
		}
		if n < 0 || n > 5 {
			return fmt.Errorf("a rating is between 0 and 5 stars, not %d", n)
		}
	}
	return nil
}

// misbehave makes next fail or wait as the version asks for.
func misbehave(version string, next http.HandlerFunc) http.HandlerFunc {
	var n atomic.Uint64
	everySecond := func() bool { return n.Add(1)%2 == 0 }
	start := time.Now()
	return func(w http.ResponseWriter, r *http.Request) {
		switch version {
		case "v-faulty":
			if everySecond() {
				writeError(w, http.StatusServiceUnavailable, "this version fails on purpose")
				return
			}
		case "v-unavailable":
			if time.Since(start)/unavailablePeriod%2 == 1 {
				writeError(w, http.StatusServiceUnavailable, "this version fails on purpose, every second minute")
				return
			}
		case "v-delayed":
			if everySecond() && !wait(r, delayedVersionDelay) {
				return
			}
		}
		next(w, r)
	}
}

// wait reports whether d passed before the client gave up.
func wait(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
