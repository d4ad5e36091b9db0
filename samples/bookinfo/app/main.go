// Package app is the Bookinfo sample: a small book shop made of four HTTP
// services, a plain TCP service and a catalogue outside of the mesh, all in one
// program. The first argument chooses the service:
//
//	bookinfo productpage|details|reviews|ratings|books|tcp-echo [--port N]
//
// Main is the whole program, so that it can be its own static binary
// (samples/bookinfo/cmd/bookinfo) or be run by another one under the name
// bookinfo. Endpoints, JSON shapes and environment variables are those that
// users of the well-known Bookinfo expect; the text, the page and the code are
// our own.
package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

// Exit codes of Main.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 64
)

const usage = `usage: bookinfo <service> [--port N]

services:
  productpage   the web page and its JSON API; calls details and reviews
  details       facts about a book (with EXTERNAL_BOOKS_URL: from that catalogue)
  reviews       reviews of a book; v2 and v3 call ratings for the stars
  ratings       stars by reviewer
  books         the catalogue of a shop outside of the mesh
  tcp-echo      answers each line with "<prefix> <line>" over plain TCP

environment: SERVICE_VERSION, DETAILS_HOSTNAME, REVIEWS_HOSTNAME, RATINGS_HOSTNAME,
  DETAILS_SERVICE_PORT, REVIEWS_SERVICE_PORT, RATINGS_SERVICE_PORT, SERVICES_DOMAIN,
  ENABLE_RATINGS, STAR_COLOR, CLUSTER_NAME, EXTERNAL_BOOKS_URL, HOSTNAME,
  POD_IP (where to listen; without it, on every address), HTTP_PROXY, NO_PROXY
`

// Main runs the service that args names (without the program's name) until
// SIGTERM or SIGINT, then lets open requests finish. It returns the exit code:
// 0 after a clean stop, 1 when the service could not run, 64 for wrong usage.
func Main(args []string, stdout, stderr io.Writer, env func(string) string) int {
	// A sample runs beside many others on one machine: memory matters more to it
	// than the last bit of throughput.
	debug.SetGCPercent(50)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return Run(ctx, args, stdout, stderr, env)
}

// Run is Main without the process: it ends when ctx does.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer, env func(string) string) int {
	inv, err := parseArgs(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "bookinfo: %v\n%s", err, usage)
		return exitUsage
	}
	cfg, err := configFromEnv(inv.service, env)
	if err != nil {
		fmt.Fprintf(stderr, "bookinfo %s: %v\n", inv.service, err)
		return exitUsage
	}
	if inv.prefix != "" {
		cfg.Prefix = inv.prefix
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(env("POD_IP"), strconv.Itoa(inv.port)))
	if err != nil {
		fmt.Fprintf(stderr, "bookinfo %s: %v\n", inv.service, err)
		return exitError
	}
	log := slog.New(slog.NewJSONHandler(stdout, nil)).With("service", cfg.Service, "version", cfg.Version)
	if err := Serve(ctx, ln, cfg, log); err != nil {
		fmt.Fprintf(stderr, "bookinfo %s: %v\n", inv.service, err)
		return exitError
	}
	return exitOK
}

// Serve runs the service of cfg on ln, which it closes, until ctx ends.
func Serve(ctx context.Context, ln net.Listener, cfg Config, log *slog.Logger) error {
	log.LogAttrs(ctx, slog.LevelInfo, "serving", slog.String("addr", ln.Addr().String()), slog.String("pod", cfg.Pod))
	if cfg.Service == "tcp-echo" {
		return serveEcho(ctx, ln, cfg.Prefix, log)
	}
	h, err := handler(cfg)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	return serveHTTP(ctx, ln, cfg, h, log)
}

// handler builds the HTTP service of cfg.
func handler(cfg Config) (http.Handler, error) {
	switch cfg.Service {
	case "productpage":
		return newProductPage(cfg)
	case "details":
		return newDetails(cfg), nil
	case "reviews":
		return newReviews(cfg), nil
	case "ratings":
		return newRatings(cfg), nil
	case "books":
		return newBooks(), nil
	}
	return nil, fmt.Errorf("no service is called %q", cfg.Service)
}

// invocation is the parsed command line.
type invocation struct {
	service string
	port    int
	prefix  string
}

func parseArgs(args []string) (invocation, error) {
	var inv invocation
	if len(args) == 0 {
		return inv, errors.New("which service?")
	}
	inv.service = args[0]
	switch inv.service {
	case "productpage", "details", "reviews", "ratings", "books":
		inv.port = 9080
	case "tcp-echo":
		inv.port = 9000
	case "help", "-h", "--help":
		return inv, flag.ErrHelp
	default:
		return inv, fmt.Errorf("no service is called %q", inv.service)
	}
	fs := flag.NewFlagSet("bookinfo "+inv.service, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.IntVar(&inv.port, "port", inv.port, "port to listen on")
	if inv.service == "tcp-echo" {
		fs.StringVar(&inv.prefix, "prefix", "", "what each answer begins with (default: SERVICE_VERSION)")
	}
	if err := fs.Parse(args[1:]); err != nil {
		return inv, err
	}
	switch {
	case fs.NArg() > 0:
		return inv, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case inv.port < 0 || inv.port > 65535:
		return inv, fmt.Errorf("--port %d is not between 0 and 65535", inv.port)
	case strings.ContainsAny(inv.prefix, "\r\n"):
		return inv, errors.New("--prefix must be one line")
	}
	return inv, nil
}
