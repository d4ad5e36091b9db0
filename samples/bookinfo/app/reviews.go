package app

import (
	"net/http"
	"strconv"
)

// BookReviews is the answer of GET /reviews/{id}.
type BookReviews struct {
	ID      string   `json:"id"`
	Pod     string   `json:"podname"`
	Cluster string   `json:"clustername"`
	Version string   `json:"version"`
	Reviews []Review `json:"reviews"`
}

// Review is what one reader wrote. Rating is nil in a version without stars.
type Review struct {
	Reviewer string  `json:"reviewer"`
	Text     string  `json:"text"`
	Rating   *Rating `json:"rating,omitempty"`
}

// Rating holds the stars, or the reason why there are none.
type Rating struct {
	Stars int    `json:"stars,omitempty"`
	Color string `json:"color,omitempty"`
	Error string `json:"error,omitempty"`
}

// The two readers; the stars of ratings are found by these names.
const (
	reviewer1 = "Reviewer1"
	reviewer2 = "Reviewer2"
)

const (
	reviewText1 = "I laughed until the person beside me moved away. Everyone on the stage is so sure of what they " +
		"saw, and everyone is wrong. The shortest of his plays, and not a minute is idle."
	reviewText2 = "A fine piece of clockwork: one wrong name, and a whole town runs off its rails. I missed a quiet " +
		"scene or two, but the reunion at the end pays for all of it."
)

const noRatings = "Ratings service is currently unavailable"

// newReviews serves the reviews. v1 has no stars; v2 (black) and v3 (red) ask
// ratings for them, and leave a note in their place when it does not answer.
func newReviews(cfg Config) http.Handler {
	c := newClient(cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reviews/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, ok := productID(w, r)
		if !ok {
			return
		}
		out := BookReviews{
			ID: strconv.Itoa(id), Pod: cfg.Pod, Cluster: cfg.Cluster, Version: cfg.Version,
			Reviews: []Review{{Reviewer: reviewer1, Text: reviewText1}, {Reviewer: reviewer2, Text: reviewText2}},
		}
		if cfg.UseRatings {
			addStars(cfg, c, r, out.ID, out.Reviews)
		}
		writeJSON(w, http.StatusOK, out)
	})
	return mux
}

func addStars(cfg Config, c *client, r *http.Request, id string, reviews []Review) {
	res := c.get(r.Context(), cfg.RatingsURL+"/ratings/"+id, forwardHeaders(r.Header), cfg.RatingsTimeout, 1)
	var stars BookRatings
	if !res.ok() || res.decode(&stars) != nil {
		for i := range reviews {
			reviews[i].Rating = &Rating{Error: noRatings}
		}
		return
	}
	for i := range reviews {
		if n, rated := stars.Ratings[reviews[i].Reviewer]; rated && n > 0 {
			reviews[i].Rating = &Rating{Stars: min(n, 5), Color: cfg.StarColor}
		}
	}
}
