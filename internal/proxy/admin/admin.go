package admin

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/meshctl/meshctl/internal/proxy/listener"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/stats"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

// Config gives the raw configuration; *xdsclient.Client.
type Config interface {
	// Resources are those of a type in force, sorted by name.
	Resources(typeURL string) []xdsclient.Resource
	Status() xdsclient.Status
}

// Stats gives the statistics; *stats.Registry.
type Stats interface {
	WriteMetrics(w io.Writer) error
	WriteText(w io.Writer, q stats.Query) error
	WriteJSON(w io.Writer, q stats.Query) error
	Reset()
}

// Control is what tools may do to the proxy.
type Control interface {
	// Ready reports whether traffic can be served, and why not.
	Ready() (ok bool, why string)
	// State is one of stats.StateLive and the like.
	State() int64
	// Drain ends listeners, of inbound traffic or all: gracefully or at once.
	Drain(inboundOnly, graceful bool)
	// FailHealth makes health checks fail, or pass again.
	FailHealth(fail bool)
	// ReopenLogs opens access logs anew.
	ReopenLogs()
	// Quit ends the process in good order.
	Quit()
}

// Options are where the interface gets its answers. All but Logger and Now are required.
type Options struct {
	Config    Config
	Snapshot  func() *snapshot.Snapshot
	Clusters  func(name string) *upstream.ClusterState // nil result: never used
	Listeners func() []listener.Status
	Stats     Stats
	Control   Control
	Levels    *Levels

	Node        *corev3.Node
	Version     string
	Concurrency int
	Began       time.Time
	// Secrets are further secrets in force, of SDS' type (the workload's own); may be nil.
	Secrets func() []xdsclient.Resource

	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default discards
}

// Server is the admin interface: an http.Handler.
type Server struct {
	o     Options
	mux   *http.ServeMux
	pages []page
}

// page is one path.
type page struct {
	path, help string
	post       bool // changes something
	serve      http.HandlerFunc
}

// New makes the interface.
func New(o Options) (*Server, error) {
	if o.Config == nil || o.Snapshot == nil || o.Clusters == nil || o.Listeners == nil || o.Stats == nil || o.Control == nil || o.Levels == nil || o.Node == nil {
		return nil, errors.New("make admin interface: configuration, snapshot, clusters, listeners, statistics, control, levels and node are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, mux: http.NewServeMux()}
	s.pages = s.list()
	for _, p := range s.pages {
		h := p.serve
		if p.post {
			h = needPost(h)
		} else {
			h = needGet(h)
		}
		s.mux.HandleFunc(p.path, h)
	}
	s.mux.HandleFunc("/logging", s.logging) // GET lists, POST sets
	s.mux.HandleFunc("/", s.unknown)
	return s, nil
}

// list names all paths; /logging is added by New since it takes both methods.
func (s *Server) list() []page {
	return []page{
		{path: "/certs", help: "print certs on machine", serve: s.certs},
		{path: "/clusters", help: "upstream cluster status (?format=json)", serve: s.clusters},
		{path: "/config_dump", help: "dump current configuration (?include_eds, ?resource=, ?mask=, ?name_regex=)", serve: s.configDump},
		{path: "/debug/pprof/", help: "profiles of the process (go tool pprof)", serve: pprof.Index},
		{path: "/debug/pprof/profile", help: "CPU profile (?seconds=)", serve: pprof.Profile},
		{path: "/debug/pprof/trace", help: "execution trace (?seconds=)", serve: pprof.Trace},
		{path: "/drain_listeners", help: "drain listeners (?inboundonly, ?graceful)", post: true, serve: s.drain},
		{path: "/healthcheck/fail", help: "cause the server to fail health checks", post: true, serve: s.health(true)},
		{path: "/healthcheck/ok", help: "cause the server to pass health checks", post: true, serve: s.health(false)},
		{path: "/help", help: "print out list of admin commands", serve: s.help},
		{path: "/hot_restart_version", help: "print the hot restart compatibility version", serve: text("disabled")},
		{path: "/init_dump", help: "what the configuration still waits for", serve: s.initDump},
		{path: "/listeners", help: "print listener info (?format=json)", serve: s.listeners},
		{path: "/memory", help: "print current allocation/heap usage", serve: s.memory},
		{path: "/quitquitquit", help: "exit the server", post: true, serve: s.quit},
		{path: "/ready", help: "print server state, return 200 if LIVE, otherwise 503", serve: s.ready},
		{path: "/reopen_logs", help: "reopen access logs", post: true, serve: s.reopen},
		{path: "/reset_counters", help: "reset all counters to zero", post: true, serve: s.reset},
		{path: "/runtime", help: "print runtime values (there are none)", serve: jsonText(`{"layers":[],"entries":{}}`)},
		{path: "/server_info", help: "print server version/status information", serve: s.serverInfo},
		{path: "/stats", help: "print server stats (?usedonly, ?filter=, ?format=json|prometheus)", serve: s.stats},
		{path: "/stats/prometheus", help: "print server stats in prometheus format", serve: s.prometheus},
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if why := refuse(r); why != "" {
		http.Error(w, why, http.StatusForbidden)
		return
	}
	w.Header().Set("Cache-Control", "no-cache, max-age=0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

// refuse says why a request is not from a client on this host. A browser can be
// made to send requests here by any page: by a name that resolves to 127.0.0.1
// (the Host header tells), or by a form (the Origin header tells).
func refuse(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return "only from localhost"
	}
	if !isLocal(r.Host) {
		return fmt.Sprintf("host %q is not localhost", r.Host)
	}
	if o := r.Header.Get("Origin"); o != "" {
		if u, err := url.Parse(o); err != nil || !isLocal(u.Host) {
			return fmt.Sprintf("origin %q is not localhost", o)
		}
	}
	return ""
}

// isLocal reports whether host, with or without port, names this host.
func isLocal(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func needPost(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "use POST: this changes the proxy", http.StatusMethodNotAllowed)
			return
		}
		h(w, r)
	}
}

func needGet(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "use GET", http.StatusMethodNotAllowed)
			return
		}
		h(w, r)
	}
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body+"\n") }
}

func jsonText(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body+"\n")
	}
}

func (s *Server) help(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, s.helpText())
}

func (s *Server) helpText() string {
	pages := append(slices.Clone(s.pages), page{path: "/logging", help: "query/change logging levels (POST ?level=, ?paths=a:debug,b:info)"})
	slices.SortFunc(pages, func(a, b page) int { return strings.Compare(a.path, b.path) })
	var b strings.Builder
	b.WriteString("admin commands are:\n")
	for _, p := range pages {
		method := ""
		if p.post {
			method = " (POST)"
		}
		fmt.Fprintf(&b, "  %s%s: %s\n", p.path, method, p.help)
	}
	return b.String()
}

func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		s.help(w, r)
		return
	}
	http.Error(w, "invalid path. "+s.helpText(), http.StatusNotFound)
}

// Static is a Config that never changes, by type URL: for a proxy without a
// control plane.
type Static map[string][]xdsclient.Resource

// Resources implements Config.
func (s Static) Resources(typeURL string) []xdsclient.Resource { return s[typeURL] }

// Status implements Config.
func (Static) Status() xdsclient.Status { return xdsclient.Status{} }
