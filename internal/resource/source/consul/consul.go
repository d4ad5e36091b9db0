// Package consul is the source of services that a Consul agent knows: each becomes a
// ServiceEntry with the host NAME.service.consul, its healthy instances the endpoints.
//
//	s, err := consul.New(consul.Options{Address: "http://127.0.0.1:8500"})
//	go s.Run(ctx, sink)
//
// How it follows the catalog:
//
//  1. One blocking query waits for the list of services, and one for each service
//     for its instances and their checks (HTTP API, /v1/catalog/services and
//     /v1/health/service). Each answer is whole, so that nothing can be missed.
//  2. The first Apply waits until every service has been read once, or the agent has
//     not answered for a while: the mesh must not wait for a registry that is away.
//  3. What was read stays in force while the agent is away, and a finding says so.
package consul

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
)

// Options of a Source.
type Options struct {
	// Address of the agent's HTTP API, as http://127.0.0.1:8500.
	Address string
	// TokenFile holds the ACL token, read anew for each question; "": none.
	TokenFile string
	// Namespace is where the ServiceEntries are; default consul.
	Namespace string
	// Domain is the end of hosts; default consul.
	Domain string
	// DialContext connects to the agent; nil: as usual.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// First bounds how long the mesh waits for the agent at the start; default 5 s.
	First  time.Duration
	Logger *slog.Logger
}

// Bounds of what an agent may make us hold.
const (
	maxServices  = 1000
	maxInstances = 10_000 // of one service
	maxAnswer    = 32 << 20
)

// Source follows one agent. Make one with New.
type Source struct {
	o    Options
	base *url.URL
	http *http.Client
}

// New checks the options; it asks nothing.
func New(o Options) (*Source, error) {
	u, err := url.Parse(o.Address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("address of Consul %q: want http://HOST:PORT", o.Address)
	}
	if o.Namespace == "" {
		o.Namespace = "consul"
	}
	if o.Domain == "" {
		o.Domain = "consul"
	}
	if o.First <= 0 {
		o.First = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &http.Transport{DialContext: o.DialContext, MaxIdleConnsPerHost: maxServices, IdleConnTimeout: time.Minute}
	return &Source{o: o, base: u, http: &http.Client{Transport: t}}, nil
}

// Name implements source.Source.
func (s *Source) Name() string { return "consul:" + s.base.Host }

// update is an answer, or that there is none.
type update struct {
	names     []string // of all services, when service is ""
	service   string
	instances []instance
	err       error
}

// state is what is known; it belongs to Run's goroutine.
type state struct {
	s       *Source
	sink    source.Sink
	watches map[string]context.CancelFunc
	objects map[string]*resource.Object // by service; nil: it has none
	wrong   map[string]diag.Diagnostic  // by service; "" is the agent
	listed  bool
	started bool // the first Apply is over
}

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, sink source.Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.http.CloseIdleConnections()
	defer cancel()
	st := &state{
		s: s, sink: sink, watches: map[string]context.CancelFunc{}, objects: map[string]*resource.Object{}, wrong: map[string]diag.Diagnostic{},
	}
	updates := make(chan update)
	go s.follow(ctx, "/v1/catalog/services", func(u update) { send(ctx, updates, u) }, readNames)
	first := time.NewTimer(s.o.First)
	defer first.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-first.C:
			st.start()
		case u := <-updates:
			st.take(ctx, u, updates)
		}
	}
}

func send(ctx context.Context, to chan<- update, u update) {
	select {
	case to <- u:
	case <-ctx.Done():
	}
}

// take books an answer.
func (st *state) take(ctx context.Context, u update, updates chan<- update) {
	before := maps.Clone(st.wrong)
	switch {
	case u.err != nil:
		if st.wrong[""].Message == "" {
			st.s.o.Logger.WarnContext(ctx, "Consul cannot be read; it is tried again", "err", u.err)
		}
		st.wrong[""] = unreachable(st.s.base.Host, u.err)
	case u.service == "":
		delete(st.wrong, "")
		st.list(ctx, u.names, updates)
	default:
		if _, followed := st.watches[u.service]; !followed {
			return // it has gone meanwhile
		}
		delete(st.wrong, "")
		st.put(u.service, u.instances)
	}
	if !st.started && st.listed && len(st.objects) == len(st.watches) {
		st.start()
	}
	if st.started && !maps.Equal(before, st.wrong) {
		st.report()
	}
}

// start is the first Apply.
func (st *state) start() {
	if st.started {
		return
	}
	st.started = true
	var set []*resource.Object
	for _, name := range slices.Sorted(maps.Keys(st.objects)) {
		if o := st.objects[name]; o != nil {
			set = append(set, o)
		}
	}
	st.sink.Apply(st.s.Name(), set, nil)
	st.report()
}

func (st *state) report() {
	var ds []diag.Diagnostic
	for _, name := range slices.Sorted(maps.Keys(st.wrong)) {
		ds = append(ds, st.wrong[name])
	}
	st.sink.Report(st.s.Name(), ds)
}

// list starts to follow new services, and lets those that are gone go.
func (st *state) list(ctx context.Context, names []string, updates chan<- update) {
	st.listed = true
	slices.Sort(names)
	delete(st.wrong, tooMany)
	if len(names) > maxServices {
		st.wrong[tooMany] = diag.Diagnostic{
			Code: resource.CodeSource, Severity: diag.Error, Object: diag.Object{Kind: "Consul"},
			Message: fmt.Sprintf("Consul at %s has %d services, and %d are followed", st.s.base.Host, len(names), maxServices),
			Effect:  "the services that come last by name are not in the mesh", Fix: "follow an agent with fewer services",
		}
		names = names[:maxServices]
	}
	for name, stop := range st.watches {
		if slices.Contains(names, name) {
			continue
		}
		stop()
		delete(st.watches, name)
		st.put(name, nil)
		delete(st.objects, name)
		delete(st.wrong, name)
	}
	for _, name := range names {
		if st.watches[name] != nil {
			continue
		}
		own, stop := context.WithCancel(ctx)
		st.watches[name] = stop
		go st.s.follow(own, "/v1/health/service/"+url.PathEscape(name), func(u update) {
			u.service = name
			send(own, updates, u)
		}, readInstances)
	}
}

// tooMany is a key of findings that no service has.
const tooMany = "\x00too many"

// put brings one service's ServiceEntry up to date.
func (st *state) put(name string, instances []instance) {
	before := st.objects[name]
	now, err := st.s.entry(name, instances)
	delete(st.wrong, name)
	if err != nil {
		st.wrong[name] = diag.Diagnostic{
			Code: resource.CodeSource, Severity: diag.Warning, Object: diag.Object{Kind: "Consul", Name: name},
			Message: fmt.Sprintf("service %q of Consul cannot be a service of the mesh: %v", name, err),
			Effect:  "it is not in the mesh; what it was before stays in force", Fix: "register it under a name, and with addresses and ports, that DNS allows",
		}
		now = before
	}
	st.objects[name] = now
	switch {
	case !st.started:
	case now == nil && before != nil:
		st.sink.Apply(st.s.Name(), nil, []resource.Key{before.Key})
	case now != nil && (before == nil || !before.Equal(now)):
		st.sink.Apply(st.s.Name(), []*resource.Object{now}, nil)
	}
}

func unreachable(host string, err error) diag.Diagnostic {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	return diag.Diagnostic{
		Code: resource.CodeSource, Severity: diag.Warning, Object: diag.Object{Kind: "Consul"},
		Message: fmt.Sprintf("Consul at %s cannot be read: %v", host, err),
		Effect:  "what was read before stays in force", Fix: "none needed if it comes back; the control plane tries again",
	}
}
