package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// start runs a service on a loopback port until the test ends and returns its
// base URL. env may hold anything that Main reads from the environment.
func start(t *testing.T, service string, env map[string]string) string {
	t.Helper()
	base, stop := startStoppable(t, service, env, io.Discard)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop %s: %v", service, err)
		}
	})
	return base
}

func startStoppable(t *testing.T, service string, env map[string]string, logTo io.Writer) (base string, stop func() error) {
	t.Helper()
	cfg, err := configFromEnv(service, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, cfg, slog.New(slog.NewJSONHandler(logTo, nil))) }()
	return "http://" + ln.Addr().String(), func() error {
		cancel()
		return <-done
	}
}

// at is the environment that points <NAME>_HOSTNAME and port at base.
func at(env map[string]string, name, base string) map[string]string {
	u, _ := url.Parse(base)
	env[name+"_HOSTNAME"], env[name+"_SERVICE_PORT"] = u.Hostname(), u.Port()
	return env
}

func get(t *testing.T, c *http.Client, u string, h http.Header) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	if h != nil {
		req.Header = h
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// TestThePageOfEachVersion runs all four services and looks at the page.
func TestThePageOfEachVersion(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]struct{ has, lacks []string }{
		"v1": {[]string{"never asks ratings"}, []string{"★", "unavailable"}},
		"v2": {[]string{`class="stars black"`, "5 of 5 stars, black", "4 of 5 stars, black"}, []string{`class="stars red"`}},
		"v3": {[]string{`class="stars red"`, "shows them in red"}, []string{`class="stars black"`}},
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			ratings := start(t, "ratings", map[string]string{})
			details := start(t, "details", map[string]string{})
			reviews := start(t, "reviews", at(map[string]string{"SERVICE_VERSION": version, "HOSTNAME": "reviews-pod"}, "RATINGS", ratings))
			page := start(t, "productpage", at(at(at(map[string]string{}, "DETAILS", details), "REVIEWS", reviews), "RATINGS", ratings))
			code, body, h := get(t, http.DefaultClient, page+"/productpage", nil)
			if code != 200 || h.Get("X-Bookinfo-Reviews") != version || h.Get("X-Bookinfo-Details") != "v1" {
				t.Errorf("%d %v", code, h)
			}
			for _, s := range append(want.has, "The Comedy of Errors", "William Shakespeare", "reviews-pod", reviewer1, "reviews "+version) {
				if !strings.Contains(body, s) {
					t.Errorf("the page has no %q", s)
				}
			}
			for _, s := range want.lacks {
				if strings.Contains(body, s) {
					t.Errorf("the page has %q", s)
				}
			}
			for _, path := range []string{"/", "/health", "/static/bookinfo.css", "/static/cover.svg", "/api/v1/products", "/api/v1/products/0", "/api/v1/products/0/reviews", "/api/v1/products/0/ratings"} {
				if code, _, _ := get(t, http.DefaultClient, page+path, nil); code != 200 {
					t.Errorf("%s: %d", path, code)
				}
			}
		})
	}
}

func TestShapesAreTheWellKnownOnes(t *testing.T) {
	t.Parallel()
	ratings := start(t, "ratings", map[string]string{})
	reviews := start(t, "reviews", at(map[string]string{"SERVICE_VERSION": "v3", "CLUSTER_NAME": "one"}, "RATINGS", ratings))
	details := start(t, "details", map[string]string{})
	page := start(t, "productpage", at(at(map[string]string{}, "DETAILS", details), "REVIEWS", reviews))

	var r struct {
		ID      string `json:"id"`
		Pod     string `json:"podname"`
		Cluster string `json:"clustername"`
		Reviews []struct {
			Reviewer, Text string
			Rating         struct {
				Stars int
				Color string
			}
		}
	}
	_, body, _ := get(t, http.DefaultClient, reviews+"/reviews/7", nil)
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.ID != "7" || r.Pod == "" || r.Cluster != "one" ||
		len(r.Reviews) != 2 || r.Reviews[0].Reviewer != "Reviewer1" || r.Reviews[0].Rating.Stars != 5 || r.Reviews[1].Rating.Color != "red" {
		t.Errorf("%v: %s", err, body)
	}
	_, body, _ = get(t, http.DefaultClient, ratings+"/ratings/7", nil)
	if strings.TrimSpace(body) != `{"id":7,"ratings":{"Reviewer1":5,"Reviewer2":4}}` {
		t.Errorf("ratings: %s", body)
	}
	_, body, _ = get(t, http.DefaultClient, details+"/details/7", nil)
	for _, field := range []string{`"id":7`, `"author"`, `"year"`, `"type"`, `"pages"`, `"publisher"`, `"language"`, `"ISBN-10"`, `"ISBN-13"`} {
		if !strings.Contains(body, field) {
			t.Errorf("details have no %s: %s", field, body)
		}
	}
	for _, u := range []string{reviews + "/reviews/x", ratings + "/ratings/-1", details + "/details/x", page + "/api/v1/products/x"} {
		if code, _, _ := get(t, http.DefaultClient, u, nil); code != 400 {
			t.Errorf("%s: %d", u, code)
		}
	}
}

func TestRatingsArePosted(t *testing.T) {
	t.Parallel()
	ratings := start(t, "ratings", map[string]string{})
	post := func(body string) int {
		resp, err := http.Post(ratings+"/ratings/3", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, bad := range []string{"", "{", "{}", `{"a":6}`, `{"a":-1}`, `{"":1}`, `[1]`, `{"a":"b"}`, `{"a":` + strings.Repeat(" ", maxBody) + `1}`} {
		if code := post(bad); code != 400 {
			t.Errorf("%.20q: %d", bad, code)
		}
	}
	if code := post(`{"Reviewer1":1,"Reviewer2":2}`); code != 200 {
		t.Fatal(code)
	}
	if _, body, _ := get(t, http.DefaultClient, ratings+"/ratings/3", nil); !strings.Contains(body, `"Reviewer1":1`) {
		t.Error(body)
	}
	if _, body, _ := get(t, http.DefaultClient, ratings+"/ratings/4", nil); !strings.Contains(body, `"Reviewer1":5`) {
		t.Errorf("another product changed: %s", body)
	}
}

func TestHeadersReachTheLastService(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 4)
	ratings := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		fmt.Fprint(w, `{"id":0,"ratings":{"Reviewer1":3}}`)
	}))
	t.Cleanup(ratings.Close)
	reviews := start(t, "reviews", at(map[string]string{"SERVICE_VERSION": "v2"}, "RATINGS", ratings.URL))
	page := start(t, "productpage", at(at(map[string]string{}, "REVIEWS", reviews), "DETAILS", reviews))

	in := http.Header{}
	for _, name := range forwarded() {
		in.Set(name, "value-of-"+strings.ToLower(name))
	}
	in.Set("Accept-Language", "en") // not ours to pass on
	get(t, http.DefaultClient, page+"/productpage", in)
	got := <-seen
	for _, name := range forwarded() {
		if got.Get(name) != in.Get(name) {
			t.Errorf("%s: %q", name, got.Get(name))
		}
	}
	if got.Get("Accept-Language") != "" {
		t.Error("Accept-Language was passed on")
	}

	// Signing in sets end-user, whatever the client says itself.
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar}
	resp, err := c.PostForm(page+"/login", url.Values{"username": {"jason"}})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if got := <-seen; got.Get("End-User") != "jason" || !strings.Contains(string(body), "Signed in as <b>jason</b>") {
		t.Errorf("end-user %q", got.Get("End-User"))
	}
	if _, body, _ := get(t, c, page+"/logout", nil); !strings.Contains(body, "Sign in as") || (<-seen).Get("End-User") != "" {
		t.Error("still signed in")
	}
}

func TestUserNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"jason": "jason", "  a b ": "a b", "": "", " ": "", "a\r\nX: y": "", strings.Repeat("x", 49): "", "\xff": "", "Żółć": "Żółć",
	} {
		if got := cleanUser(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestTheProductPageAsksReviewsTwiceAndShowsTheError(t *testing.T) {
	t.Parallel()
	var n int
	reviews := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/reviews/") { // one after the other: no lock needed
			n++
		}
		w.WriteHeader(http.StatusGatewayTimeout)
	}))
	t.Cleanup(reviews.Close)
	page := start(t, "productpage", at(at(map[string]string{}, "REVIEWS", reviews.URL), "DETAILS", reviews.URL))
	code, body, h := get(t, http.DefaultClient, page+"/productpage", nil)
	for _, s := range []string{"Error fetching product reviews!", "Error fetching product details!", "504 Gateway Timeout (2 tries)"} {
		if !strings.Contains(body, s) {
			t.Errorf("the page has no %q", s)
		}
	}
	if code != 200 || n != 2 || h.Get("X-Bookinfo-Reviews") != "unavailable" {
		t.Errorf("%d, %d tries, %v", code, n, h)
	}
	if code, body, _ := get(t, http.DefaultClient, page+"/api/v1/products/0/reviews", nil); code != 504 || !strings.Contains(body, noReviews) {
		t.Errorf("%d %s", code, body)
	}
}

// TestTimeLimits holds the constants to what the fault samples teach: 7 s at
// ratings must be within what reviews v2 accepts and beyond what the page does.
func TestTimeLimits(t *testing.T) {
	t.Parallel()
	const injected = 7 * time.Second
	black, err := configFromEnv("reviews", func(k string) string { return map[string]string{"SERVICE_VERSION": "v2", "HOSTNAME": "x"}[k] })
	if err != nil {
		t.Fatal(err)
	}
	if black.RatingsTimeout <= injected || 2*productTimeout >= injected {
		t.Errorf("ratings %s, page 2 x %s", black.RatingsTimeout, productTimeout)
	}
}

func TestReviewsWithoutRatings(t *testing.T) {
	t.Parallel()
	ratings := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	t.Cleanup(ratings.Close)
	reviews := start(t, "reviews", at(map[string]string{"SERVICE_VERSION": "v3"}, "RATINGS", ratings.URL))
	code, body, _ := get(t, http.DefaultClient, reviews+"/reviews/0", nil)
	if code != 200 || strings.Count(body, noRatings) != 2 || !strings.Contains(body, "clockwork") {
		t.Errorf("%d %s", code, body)
	}
}

func TestFaultyRatingsFailEverySecondTime(t *testing.T) {
	t.Parallel()
	ratings := start(t, "ratings", map[string]string{"SERVICE_VERSION": "v-faulty"})
	codes := map[int]int{}
	for range 10 {
		code, _, _ := get(t, http.DefaultClient, ratings+"/ratings/0", nil)
		codes[code]++
	}
	if codes[200] != 5 || codes[503] != 5 {
		t.Error(codes)
	}
}

func TestDetailsFromOutside(t *testing.T) {
	t.Parallel()
	books := start(t, "books", map[string]string{})
	details := start(t, "details", map[string]string{"SERVICE_VERSION": "v2", "EXTERNAL_BOOKS_URL": books})
	if code, body, _ := get(t, http.DefaultClient, details+"/details/0", nil); code != 200 || !strings.Contains(body, "The Shop Outside") {
		t.Errorf("%d %s", code, body)
	}
	lost := start(t, "details", map[string]string{"EXTERNAL_BOOKS_URL": "http://127.0.0.1:1"})
	if code, _, _ := get(t, http.DefaultClient, lost+"/details/0", nil); code != 502 {
		t.Error(code)
	}
}

func TestTCPEcho(t *testing.T) {
	t.Parallel()
	base := start(t, "tcp-echo", map[string]string{"SERVICE_VERSION": "v2"})
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	for _, line := range []string{"hello", "", "a b"} {
		fmt.Fprintf(c, "%s\r\n", line)
		if got, err := br.ReadString('\n'); err != nil || got != "v2 "+line+"\n" {
			t.Errorf("%q %v", got, err)
		}
	}
	// The connection is still open: stopping (at the end of the test) must not wait for it.
}

func TestStopWaitsForOpenRequests(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	ratings := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		fmt.Fprint(w, `{"id":0,"ratings":{"Reviewer1":3}}`)
	}))
	t.Cleanup(ratings.Close)
	base, stop := startStoppable(t, "reviews", at(map[string]string{"SERVICE_VERSION": "v2"}, "RATINGS", ratings.URL), io.Discard)
	got := make(chan string, 1)
	go func() {
		resp, err := http.Get(base + "/reviews/0")
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		got <- string(b)
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(release)
	if body := <-got; !strings.Contains(body, `"stars":3`) {
		t.Error(body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	noEnv := func(string) string { return "" }
	for _, tc := range []struct {
		args string
		env  map[string]string
		code int
		says string
	}{
		{args: "", code: 64, says: "which service?"},
		{args: "--help", code: 0, says: "usage: bookinfo"},
		{args: "reviews --help", code: 0, says: "usage: bookinfo"},
		{args: "shop", code: 64, says: `no service is called "shop"`},
		{args: "reviews --port x", code: 64, says: "port"},
		{args: "reviews --port 70000", code: 64, says: "--port 70000"},
		{args: "reviews now", code: 64, says: `unexpected argument "now"`},
		{args: "reviews --prefix x", code: 64, says: "prefix"},
		{args: "reviews", env: map[string]string{"ENABLE_RATINGS": "maybe"}, code: 64, says: "ENABLE_RATINGS"},
		{args: "reviews", env: map[string]string{"RATINGS_SERVICE_PORT": "http"}, code: 64, says: "RATINGS_SERVICE_PORT"},
		{args: "reviews", env: map[string]string{"RATINGS_HOSTNAME": "a b"}, code: 64, says: "RATINGS_HOSTNAME"},
		{args: "details", env: map[string]string{"EXTERNAL_BOOKS_URL": "ftp://x"}, code: 64, says: "EXTERNAL_BOOKS_URL"},
	} {
		env := noEnv
		if tc.env != nil {
			env = func(k string) string { return tc.env[k] }
		}
		var out strings.Builder
		if code := Run(t.Context(), strings.Fields(tc.args), &out, &out, env); code != tc.code || !strings.Contains(out.String(), tc.says) {
			t.Errorf("%s %v: %d %s", tc.args, tc.env, code, out.String())
		}
	}
}
