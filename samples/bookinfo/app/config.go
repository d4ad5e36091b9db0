package app

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Config is what one service needs to know, read once from the environment.
type Config struct {
	Service string // productpage, details, reviews, ratings, books, tcp-echo
	Version string // SERVICE_VERSION, default v1
	Pod     string // HOSTNAME, or the machine's name
	Cluster string // CLUSTER_NAME, "null" when unknown, as the original prints it

	DetailsURL, ReviewsURL, RatingsURL string // base URLs of the other services
	ExternalBooksURL                   string // details: catalogue to ask, "" for the built-in facts

	UseRatings     bool          // reviews: whether to show stars
	StarColor      string        // reviews: black or red
	RatingsTimeout time.Duration // reviews: how long to wait for ratings
	Prefix         string        // tcp-echo: first word of every answer

	proxy httpproxy.Config // explicit proxying where traffic is not captured
}

// The original's time limits, on purpose unequal: 3 s, tried twice, is less than
// the 10 s that reviews v2 allows ratings. A delay of 7 s between reviews and
// ratings therefore shows as an error on the page, which is the lesson of the
// fault injection samples.
const (
	productTimeout       = 3 * time.Second
	ratingsTimeoutBlack  = 10 * time.Second
	ratingsTimeoutColour = 2500 * time.Millisecond
)

func configFromEnv(service string, env func(string) string) (Config, error) {
	c := Config{
		Service:          service,
		Version:          orDefault(env("SERVICE_VERSION"), "v1"),
		Pod:              env("HOSTNAME"),
		Cluster:          orDefault(env("CLUSTER_NAME"), "null"),
		ExternalBooksURL: env("EXTERNAL_BOOKS_URL"),
		StarColor:        env("STAR_COLOR"),
		proxy: httpproxy.Config{
			HTTPProxy: orDefault(env("HTTP_PROXY"), env("http_proxy")),
			NoProxy:   orDefault(env("NO_PROXY"), env("no_proxy")),
		},
	}
	if c.Pod == "" {
		name, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("name of this machine: %w", err)
		}
		c.Pod = name
	}
	c.Prefix = c.Version
	for name, dst := range map[string]*string{
		"details": &c.DetailsURL, "reviews": &c.ReviewsURL, "ratings": &c.RatingsURL,
	} {
		base, err := serviceURL(name, env)
		if err != nil {
			return c, err
		}
		*dst = base
	}
	if c.ExternalBooksURL != "" {
		u, err := url.Parse(c.ExternalBooksURL)
		if err != nil || u.Scheme != "http" || u.Host == "" {
			return c, fmt.Errorf("EXTERNAL_BOOKS_URL=%q is not an http:// URL", c.ExternalBooksURL)
		}
	}
	return c, c.setStars(env("ENABLE_RATINGS"))
}

// setStars settles what the version of reviews means for the stars; ENABLE_RATINGS
// and STAR_COLOR have the last word.
func (c *Config) setStars(enable string) error {
	switch {
	case enable != "":
		on, err := strconv.ParseBool(enable)
		if err != nil {
			return fmt.Errorf("ENABLE_RATINGS=%q is neither true nor false", enable)
		}
		c.UseRatings = on
	default:
		c.UseRatings = c.Version != "v1"
	}
	if c.StarColor == "" {
		c.StarColor = "black"
		if c.Version == "v3" {
			c.StarColor = "red"
		}
	}
	c.RatingsTimeout = ratingsTimeoutColour
	if c.StarColor == "black" {
		c.RatingsTimeout = ratingsTimeoutBlack
	}
	return nil
}

// serviceURL is the base URL of another service: <NAME>_HOSTNAME, SERVICES_DOMAIN
// appended, and <NAME>_SERVICE_PORT.
func serviceURL(name string, env func(string) string) (string, error) {
	upper := strings.ToUpper(name)
	host := orDefault(env(upper+"_HOSTNAME"), name)
	if domain := env("SERVICES_DOMAIN"); domain != "" {
		host += "." + strings.TrimPrefix(domain, ".")
	}
	port := orDefault(env(upper+"_SERVICE_PORT"), "9080")
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%s_SERVICE_PORT=%q is not a port", upper, port)
	}
	base := "http://" + net.JoinHostPort(host, port)
	if _, err := url.Parse(base); err != nil {
		return "", fmt.Errorf("%s_HOSTNAME=%q is not a host name", upper, host)
	}
	return base, nil
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
