package compile

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"regexp"
	"runtime/debug"
	"slices"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Type URLs of the resources a Compiler takes.
const (
	TypeListener    = typePrefix + "envoy.config.listener.v3.Listener"
	TypeRoute       = typePrefix + "envoy.config.route.v3.RouteConfiguration"
	TypeVirtualHost = typePrefix + "envoy.config.route.v3.VirtualHost"
	TypeCluster     = typePrefix + "envoy.config.cluster.v3.Cluster"
	TypeEndpoints   = typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	TypeSecret      = typePrefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
)

// Options of a Compiler. The zero value is for configuration from a server.
type Options struct {
	// AcceptFilter says whether a compiled filter (HTTP or network, or an override
	// of one) can be run; its error refuses the resource. nil: all that compile.
	AcceptFilter func(config any) error
	// ReadFile reads files named in data sources; nil: such sources are refused.
	ReadFile func(name string) ([]byte, error)
}

// Raw is a resource as received.
type Raw struct {
	// Name of the resource; checked against the name inside.
	Name string
	// Version as the server gave it; shown, not compared.
	Version string
	Bytes   []byte
}

// Update is a change of resources of one type.
type Update struct {
	TypeURL string
	Set     []Raw
	Removed []string
}

// ResourceError says why a resource was refused. Its last good version, if
// there is one, stays in force.
type ResourceError struct {
	TypeURL string
	Name    string
	Err     error
}

// Error names the resource and the field: `listener "x": filter_chains[0]...`.
func (e *ResourceError) Error() string {
	return fmt.Sprintf("%s %q: %v", kindName(e.TypeURL), e.Name, e.Err)
}

func (e *ResourceError) Unwrap() error { return e.Err }

func kindName(url string) string {
	switch url {
	case TypeListener:
		return "listener"
	case TypeRoute:
		return "route configuration"
	case TypeVirtualHost:
		return "virtual host"
	case TypeCluster:
		return "cluster"
	case TypeEndpoints:
		return "endpoints"
	case TypeSecret:
		return "secret"
	default:
		return url
	}
}

// Compiler holds what was compiled so far. It belongs to one goroutine; the
// snapshots it gives are free for all.
type Compiler struct {
	opts      Options
	seed      maphash.Seed
	fields    fieldTable
	operators map[string]operator
	retryOn   map[string]snapshot.RetryOn

	// Shared values: equal ones are kept once.
	strings       map[string]string
	regexes       map[string]*regexp.Regexp
	breakers      map[snapshot.Breakers]*snapshot.Breakers
	budgets       map[snapshot.RetryBudget]*snapshot.RetryBudget
	upstreamHTTPs map[snapshot.UpstreamHTTP]*snapshot.UpstreamHTTP
	infos         map[string]*snapshot.EndpointInfo
	tlsShared     map[string]*snapshot.TLSParams
	metadatas     map[string]*snapshot.Metadata
	scratch       []byte

	// deps collects what the object being compiled refers to.
	deps deps

	clusters    store[*snapshot.Cluster]
	assignments store[*snapshot.Endpoints]
	secrets     store[*snapshot.Secret]
	listeners   store[*snapshot.Listener]
	tables      store[*snapshot.RouteTable]

	chainPieces map[string]map[pieceKey]*piece[*snapshot.Chain] // by listener
	tableParts  map[string]*tableParts
	orphanHosts map[string]map[string]*piece[*snapshot.VirtualHost] // VHDS before RDS, by table

	inlines map[string]*inlineSecret

	published map[string]*snapshot.Listener // by name, those that bind and others
	current   *snapshot.Snapshot
	changed   bool
}

// New makes a Compiler.
func New(opts Options) (*Compiler, error) {
	fields, err := parseFields(fieldsText)
	if err != nil {
		return nil, err
	}
	return &Compiler{
		opts: opts, seed: maphash.MakeSeed(), fields: fields, operators: operators(), retryOn: retryConditions(),
		strings: map[string]string{}, regexes: map[string]*regexp.Regexp{}, breakers: map[snapshot.Breakers]*snapshot.Breakers{},
		budgets: map[snapshot.RetryBudget]*snapshot.RetryBudget{}, upstreamHTTPs: map[snapshot.UpstreamHTTP]*snapshot.UpstreamHTTP{},
		metadatas: map[string]*snapshot.Metadata{}, infos: map[string]*snapshot.EndpointInfo{}, tlsShared: map[string]*snapshot.TLSParams{},
		clusters: newStore[*snapshot.Cluster](), assignments: newStore[*snapshot.Endpoints](), secrets: newStore[*snapshot.Secret](),
		listeners: newStore[*snapshot.Listener](), tables: newStore[*snapshot.RouteTable](),
		chainPieces: map[string]map[pieceKey]*piece[*snapshot.Chain]{}, tableParts: map[string]*tableParts{},
		orphanHosts: map[string]map[string]*piece[*snapshot.VirtualHost]{}, inlines: map[string]*inlineSecret{},
		published: map[string]*snapshot.Listener{}, current: emptySnapshot(),
	}, nil
}

func emptySnapshot() *snapshot.Snapshot {
	return &snapshot.Snapshot{
		Virtual: map[netip.AddrPort]*snapshot.Listener{},
		Routes:  map[string]*snapshot.RouteTable{}, Clusters: map[string]*snapshot.Cluster{},
		Endpoints: map[string]*snapshot.Endpoints{}, Secrets: map[string]*snapshot.Secret{},
	}
}

// deps are the names an object refers to.
type deps struct {
	routes, endpoints, clusters, secrets names
	inline                               []*snapshot.Secret
}

// names is a set in a slice: references of one object are few.
type names []string

func (n *names) add(s string) {
	if len(*n) > 32 || !slices.Contains(*n, s) {
		*n = append(*n, s)
	}
}

// cluster notes that the object being compiled sends to a cluster.
func (c *Compiler) cluster(name string) string {
	name = c.str(name)
	if name != "" {
		c.deps.clusters.add(name)
	}
	return name
}

// share gives one copy of equal values.
func share[T comparable](memo map[T]*T, v T) *T {
	if p := memo[v]; p != nil {
		return p
	}
	if len(memo) > maxMemo {
		clear(memo)
	}
	p := &v
	memo[v] = p
	return p
}

// shareTLS gives one copy of equal TLS parameters.
func (c *Compiler) shareTLS(p *snapshot.TLSParams) *snapshot.TLSParams {
	if len(p.CRL) > 0 {
		return p
	}
	for i := range p.SANs {
		if p.SANs[i].Regex != nil {
			return p
		}
	}
	k := fmt.Sprintf("%#v", *p)
	if q := c.tlsShared[k]; q != nil {
		return q
	}
	if len(c.tlsShared) > maxMemo {
		clear(c.tlsShared)
	}
	c.tlsShared[k] = p
	return p
}

// Apply takes an update. It gives the resources it refused, in the order of the update.
func (c *Compiler) Apply(u Update) []*ResourceError {
	if u.TypeURL == TypeVirtualHost {
		return c.applyHosts(u)
	}
	apply, remove := c.handlers(u.TypeURL)
	if apply == nil {
		err := unsupported("resource type %s", u.TypeURL)
		out := []*ResourceError{}
		for _, r := range u.Set {
			out = append(out, &ResourceError{TypeURL: u.TypeURL, Name: r.Name, Err: err})
		}
		return out
	}
	var out []*ResourceError
	for i := range u.Set {
		raw := u.Set[i]
		if err := c.guard(func() error { return apply(&raw) }); err != nil {
			out = append(out, &ResourceError{TypeURL: u.TypeURL, Name: raw.Name, Err: err})
		}
	}
	for _, name := range u.Removed {
		remove(name)
	}
	return out
}

func (c *Compiler) handlers(url string) (apply func(*Raw) error, remove func(string)) {
	switch url {
	case TypeListener:
		return c.applyListener, c.removeListener
	case TypeRoute:
		return c.applyTable, c.removeTable
	case TypeCluster:
		return c.applyCluster, func(n string) { removeFrom(c, &c.clusters, n) }
	case TypeEndpoints:
		return c.applyEndpoints, func(n string) { removeFrom(c, &c.assignments, n) }
	case TypeSecret:
		return c.applySecret, func(n string) { removeFrom(c, &c.secrets, n) }
	default:
		return nil, nil
	}
}

// guard turns a panic into a refusal: a resource that we cannot stomach must
// not end the proxy.
func (c *Compiler) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("internal error: %v\n%s", r, debug.Stack())
		}
	}()
	return f()
}

// take runs f and gives what it referred to.
func take[T any](c *Compiler, f func() (T, error)) (T, deps, error) {
	saved := c.deps
	c.deps = deps{}
	v, err := f()
	d := c.deps
	c.deps = saved
	return v, d, err
}
