package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/nametable"
	"github.com/meshctl/meshctl/internal/proxy/admin"
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/compile"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter/peermeta"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/httpconn"
	"github.com/meshctl/meshctl/internal/proxy/listener"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tcp"
	"github.com/meshctl/meshctl/internal/proxy/tlsbind"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

// Options say what a Proxy is and what it is connected to.
type Options struct {
	Workers int
	Mark    int // SO_MARK of outgoing sockets, exempting them from capture; 0: none
	Logger  *slog.Logger
	Version string
	// LoopbackSource is where connections to loopback addresses come from; invalid:
	// as the kernel has it.
	LoopbackSource netip.Addr

	Node *corev3.Node
	Self *flow.Peer // what peers are told of this workload
	// Dial and Context reach the control plane; nil Dial: the configuration is
	// given by Apply alone.
	Dial    func(ctx context.Context) (grpc.ClientConnInterface, error)
	Context func(ctx context.Context) (context.Context, error)
	// Names gets DNS names as they come; may be nil.
	Names func(set map[string]nametable.Table, removed []string)
	// Resolver looks up the names of DNS clusters.
	Resolver upstream.Resolver
	// Admin is where the admin interface listens; invalid: nowhere. Levels are what
	// it changes at /logging, Quit what it calls at /quitquitquit.
	Admin  netip.AddrPort
	Levels *admin.Levels
	Quit   func()
}

// Proxy is a running data plane.
type Proxy struct {
	o      Options
	log    *slog.Logger
	engine *engine.Engine
	shared *upstream.Shared
	binder *tlsbind.Binder
	xds    *xdsclient.Client
	ls     *listener.Manager
	works  []*worker
	snap   atomic.Pointer[snapshot.Snapshot]
	obs    *observers
	uri    atomic.Pointer[string]
	static admin.Static // of a proxy without a control plane

	began    time.Time
	draining atomic.Bool
	failing  atomic.Bool // told by /healthcheck/fail

	mu      sync.Mutex // the compiler is one goroutine's at a time
	comp    *compile.Compiler
	own     []xdsclient.Resource // the workload's secrets
	release *time.Timer          // runs while something that was sent waits for what was not
}

// warmingTime is how long a listener, table or cluster waits for what it refers
// to before it is published without (Envoy's initial_fetch_timeout).
const warmingTime = 15 * time.Second

// worker is one event loop's share of the proxy.
type worker struct {
	w    *engine.Worker
	up   *upstream.Manager
	http *httpconn.Server
	tcp  *tcp.Proxy
}

// Types subscribed to, in the order in which they are needed.
var types = []string{
	compile.TypeCluster, compile.TypeEndpoints, compile.TypeListener, compile.TypeRoute,
	compile.TypeVirtualHost, compile.TypeSecret, nametable.TypeURL,
}

// New wires a proxy; each line needs only what is above it.
func New(o Options) (*Proxy, error) {
	if o.Self == nil {
		o.Self = &flow.Peer{}
	}
	if o.Levels == nil {
		o.Levels = admin.NewLevels(slog.LevelInfo)
	}
	encoded, err := peermeta.Encode(o.Self)
	if err != nil {
		return nil, fmt.Errorf("encode own metadata: %w", err)
	}
	local := peermeta.Local{NodeID: o.Self.NodeID, Encoded: encoded}
	p := &Proxy{o: o, log: o.Logger, shared: upstream.NewShared(), binder: tlsbind.New(), began: time.Now()}
	p.snap.Store(&snapshot.Snapshot{})
	if p.comp, err = compile.New(compile.Options{AcceptFilter: acceptFilter}); err != nil {
		return nil, err
	}
	limits := codec.Limits{}.Defaults()
	if p.engine, err = engine.New(engine.Options{
		Workers: o.Workers, Mark: o.Mark, Logger: o.Logger.With("component", "engine"),
		LoopbackSource: o.LoopbackSource, HighWater: limits.HighWater, LowWater: limits.LowWater,
	}); err != nil {
		return nil, err
	}
	p.obs = newObservers(p)
	var handlers []listener.Handlers
	for i, ew := range p.engine.Workers() {
		w := &worker{w: ew}
		w.up = upstream.NewManager(upstream.Options{
			Worker: ew, Shared: p.shared, TLS: p.binder, Resolver: o.Resolver, Limits: limits, Logger: o.Logger.With("component", "upstream"),
		})
		rec := p.obs.recorder(i)
		w.http = httpconn.New(httpconn.Options{
			Worker: ew, Upstreams: w.up, Snapshot: p.snap.Load, Filters: p.filterFactory(local), Recorder: rec,
			Format: p.obs.format, Logger: o.Logger.With("component", "http"), Limits: limits, LocalURI: p.localURI,
		})
		if w.tcp, err = tcp.New(tcp.Options{
			Worker: ew, Upstreams: w.up, Snapshot: p.snap.Load, Recorder: rec, Local: local, Logger: o.Logger.With("component", "tcp"),
		}); err != nil {
			return nil, err
		}
		p.works = append(p.works, w)
		handlers = append(handlers, listener.Handlers{HTTP: w.http, TCP: w.tcp, Recorder: rec})
	}
	if p.ls, err = listener.New(listener.Options{
		Engine: p.engine, Workers: handlers, TLS: p.binder, Format: p.obs.format, Logger: o.Logger.With("component", "listener"),
	}); err != nil {
		return nil, err
	}
	if o.Dial != nil {
		p.xds = xdsclient.New(xdsclient.Options{
			Node: o.Node, Dial: o.Dial, Context: o.Context, Types: types, Handler: p, Logger: o.Logger.With("component", "xds"),
		})
	}
	return p, nil
}

// NewStatic makes a proxy that serves the static resources of an Envoy bootstrap
// and nothing else.
func NewStatic(o Options, bootstrap []byte) (*Proxy, error) {
	o.Dial = nil
	snap, err := compile.FromBootstrap(bootstrap, compile.Options{AcceptFilter: acceptFilter, ReadFile: os.ReadFile})
	if err != nil {
		return nil, fmt.Errorf("compile configuration: %w", err)
	}
	p, err := New(o)
	if err != nil {
		return nil, err
	}
	updates, err := compile.StaticUpdates(bootstrap)
	if err != nil {
		return nil, err
	}
	p.static = admin.Static{}
	for _, u := range updates {
		for _, r := range u.Set {
			p.static[u.TypeURL] = append(p.static[u.TypeURL], xdsclient.Resource{Name: r.Name, Version: r.Version, Body: r.Bytes})
		}
	}
	p.publish(snap)
	for _, l := range p.ls.Status() {
		if len(l.Errors) > 0 {
			return nil, fmt.Errorf("listener %s: %s", l.Listener.Name, l.Errors[0])
		}
	}
	return p, nil
}

func (p *Proxy) localURI() string {
	if u := p.uri.Load(); u != nil {
		return *u
	}
	return ""
}

// SetWorkload puts a certificate into force for new handshakes.
func (p *Proxy) SetWorkload(w *identity.Workload) error {
	roots, err := tlsconn.ParseCertificates(w.RootsPEM)
	if err != nil {
		return fmt.Errorf("take roots: %w", err)
	}
	secrets, err := workloadSecrets(w)
	if err != nil {
		return err
	}
	p.binder.SetWorkload(w.Cert, roots)
	id := w.ID.String()
	p.uri.Store(&id)
	// To the configuration they are secrets like any other: what refers to them
	// waits until they are there.
	p.mu.Lock()
	p.own = secrets
	p.mu.Unlock()
	for _, err := range p.Apply(compile.TypeSecret, secrets, nil) {
		return err
	}
	return nil
}

// workloadSecrets are a workload's certificate and roots as SDS would bring them.
func workloadSecrets(w *identity.Workload) ([]xdsclient.Resource, error) {
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	var out []xdsclient.Resource
	for _, s := range []*tlsv3.Secret{
		{Name: tlsbind.WorkloadCert, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(w.ChainPEM), PrivateKey: inline(w.KeyPEM),
		}}},
		{Name: tlsbind.WorkloadRoot, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(w.RootsPEM)}}},
	} {
		b, err := proto.Marshal(s)
		if err != nil {
			return nil, fmt.Errorf("encode secret %s: %w", s.GetName(), err)
		}
		out = append(out, xdsclient.Resource{Name: s.GetName(), Version: w.Cert.Leaf.SerialNumber.Text(16), Body: b})
	}
	return out, nil
}

// Run serves until ctx ends, then closes what is left. Drain comes before.
func (p *Proxy) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.engine.Start()
	errs := make(chan error, 3)
	running := 0
	start := func(run func(context.Context) error) {
		running++
		go func() { errs <- run(ctx) }()
	}
	if p.xds != nil {
		start(p.xds.Run)
	}
	if p.o.Admin.IsValid() {
		start(p.serveAdmin)
	}
	start(p.obs.run)
	var err error
	for range running {
		if e := <-errs; e != nil && !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
			cancel()
		}
	}
	p.ls.Close()
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	return errors.Join(err, p.engine.Close(end))
}

// Apply implements xdsclient.Handler: resources are compiled, and what is
// complete is published to the workers.
func (p *Proxy) Apply(typeURL string, set []xdsclient.Resource, removed []string) map[string]error {
	if typeURL == nametable.TypeURL {
		return p.applyNames(set, removed)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u := compile.Update{TypeURL: typeURL, Removed: removed, Set: make([]compile.Raw, len(set))}
	for i, r := range set {
		u.Set[i] = compile.Raw{Name: r.Name, Version: r.Version, Bytes: r.Body}
	}
	refused := map[string]error{}
	for _, e := range p.comp.Apply(u) {
		refused[e.Name] = e
	}
	s := p.comp.Snapshot()
	p.publish(s)
	p.watchMissing(s)
	return refused
}

// watchMissing publishes what waits too long. The caller holds mu.
func (p *Proxy) watchMissing(s *snapshot.Snapshot) {
	switch {
	case s.Missing.Empty():
		if p.release != nil {
			p.release.Stop()
			p.release = nil
		}
	case p.release == nil:
		p.release = time.AfterFunc(warmingTime, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.release = nil
			p.log.Warn("configuration is published though something that it refers to has not come", "missing", fmt.Sprintf("%+v", p.snap.Load().Missing))
			for range 3 { // clusters, then the tables that wait for them, then listeners
				p.comp.ReleaseHeld()
				p.publish(p.comp.Snapshot())
			}
		})
	}
}

func (p *Proxy) applyNames(set []xdsclient.Resource, removed []string) map[string]error {
	refused := map[string]error{}
	tables := make(map[string]nametable.Table, len(set))
	for _, r := range set {
		t, err := nametable.Unmarshal(r.Body)
		if err != nil {
			refused[r.Name] = err
			continue
		}
		tables[r.Name] = t
	}
	if p.o.Names != nil {
		p.o.Names(tables, removed)
	}
	return refused
}

// publish puts a snapshot into force. Secrets and upstreams come before
// listeners: a connection must find what its chain refers to.
func (p *Proxy) publish(s *snapshot.Snapshot) {
	if old := p.snap.Load(); old == s {
		return
	}
	p.binder.Update(s)
	if p.o.Resolver != nil {
		p.shared.Resolve(s, p.o.Resolver, p.log)
	}
	p.snap.Store(s)
	for _, w := range p.works {
		w.w.Post(func() {
			w.up.Update(s)
			w.http.Forget(managersOf(s))
		})
	}
	p.ls.Apply(s)
	p.shared.Prune(s)
}

// managersOf are the connection managers in force.
func managersOf(s *snapshot.Snapshot) map[*snapshot.HTTPManager]bool {
	in := map[*snapshot.HTTPManager]bool{}
	add := func(l *snapshot.Listener) {
		for _, c := range l.Chains {
			in[c.HTTP] = true
		}
		if l.Default != nil {
			in[l.Default.HTTP] = true
		}
	}
	for _, l := range s.Listeners {
		add(l)
	}
	for _, l := range s.Virtual {
		add(l)
	}
	return in
}

// Ready implements agent.DataPlane: the first complete configuration is in force.
func (p *Proxy) Ready() (bool, string) {
	if p.draining.Load() || p.failing.Load() {
		return false, "draining"
	}
	if p.xds == nil {
		return true, ""
	}
	st := p.xds.Status()
	for _, t := range types[:5] {
		if ts := st.Types[t]; ts.Accepted+ts.Rejected == 0 {
			if !st.Connected {
				return false, "no configuration yet: the control plane has not been reached: " + st.LastError
			}
			return false, "no configuration yet: waiting for " + t
		}
	}
	if m := &p.snap.Load().Missing; len(m.WarmingListeners) > 0 {
		return false, fmt.Sprintf("listeners wait for routes or secrets: %v", m.WarmingListeners)
	}
	for _, l := range p.ls.Status() {
		if len(l.Errors) > 0 {
			return false, "listener " + l.Listener.Name + ": " + l.Errors[0]
		}
	}
	if p.uri.Load() == nil {
		return false, "no certificate yet"
	}
	return true, ""
}

// ReportHealth tells the control plane how the workload is.
func (p *Proxy) ReportHealth(healthy bool, reason string) {
	if p.xds != nil {
		p.xds.Report(xdsclient.Health{Healthy: healthy, Reason: reason})
	}
}

// Drain implements agent.DataPlane.
func (p *Proxy) Drain(inboundOnly bool) {
	p.draining.Store(true)
	p.ls.Drain(inboundOnly)
}

// Connections implements agent.DataPlane.
func (p *Proxy) Connections() int { return p.ls.Connections() }
