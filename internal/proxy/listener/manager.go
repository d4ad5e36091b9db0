package listener

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// HTTPHandler serves the connections of HTTP chains on one worker; *httpconn.Server.
type HTTPHandler interface {
	// ServeConn takes the connection over: it sets a handler.
	ServeConn(c *engine.Conn, info *flow.Conn)
	// AdoptChains gives each connection a chance to go on under another chain, of
	// the same transport: next returns nil if there is none. The next request on
	// it is judged by the new chain.
	AdoptChains(next func(*flow.Conn) *snapshot.Chain)
	// DrainChain ends connections for which gone holds gracefully.
	DrainChain(gone func(*flow.Conn) bool)
}

// TCPHandler serves the connections of TCP chains on one worker; *tcp.Proxy.
type TCPHandler interface {
	// ServeConn takes the connection over: it sets a handler.
	ServeConn(c *engine.Conn, info *flow.Conn)
	// Speculate dials the endpoint and leaves c alone. When the endpoint speaks,
	// ends or fails, it calls spoke: true means ServeConn with what was dialed;
	// false means that all waits for commit, which is that too, or for cancel,
	// which forgets it. Exactly one of the three happens.
	Speculate(c *engine.Conn, info *flow.Conn, spoke func() bool) (commit, cancel func())
	// DrainChain lets connections for which gone holds end, and closes them after within.
	DrainChain(gone func(*flow.Conn) bool, within time.Duration)
}

// Handlers are one worker's.
type Handlers struct {
	HTTP HTTPHandler
	TCP  TCPHandler
	// Recorder gets connections that never reach a handler: refused, or without a chain.
	Recorder flow.Recorder
}

// TLS compiles the accepting side of TLS; *tlsbind.Binder.
type TLS interface {
	Server(t *snapshot.ServerTLS) (*tlsconn.ServerConfig, error)
}

// Options configure a Manager. Zero fields mean the default.
type Options struct {
	Engine  *engine.Engine // required
	Workers []Handlers     // required: one for each worker of the engine
	TLS     TLS            // required if any chain has TLS
	// Format writes a format string for a connection (set_filter_state).
	Format func(dst []byte, f *snapshot.Format, r *flow.Record) []byte
	// OriginalDst finds where a redirected connection was meant to go; default
	// engine.Conn.OriginalDst.
	OriginalDst func(c *engine.Conn) netip.AddrPort
	Logger      *slog.Logger // default discards

	SilentWait       time.Duration // default 100 ms; see the package comment
	SniffTimeout     time.Duration // for begun but undecided first bytes when the listener sets no timeout, default 10 s
	FirstByteTimeout time.Duration // for the first byte when the listener sets no timeout, default 1 h
	HandshakeTimeout time.Duration // when the chain sets none, default 10 s
	DrainTime        time.Duration // for TCP connections of chains that are gone, default 45 s
	RetryBind        time.Duration // between attempts to bind what could not be bound, default 1 s
	MaxConns         int           // accepted connections of one worker; 0 means no limit
}

func (o Options) withDefaults() Options {
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.SilentWait, 100*time.Millisecond)
	def(&o.SniffTimeout, 10*time.Second)
	def(&o.FirstByteTimeout, time.Hour)
	def(&o.HandshakeTimeout, 10*time.Second)
	def(&o.DrainTime, 45*time.Second)
	def(&o.RetryBind, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OriginalDst == nil {
		o.OriginalDst = (*engine.Conn).OriginalDst
	}
	return o
}

// Manager puts the listeners of snapshots into force. Its methods may be called
// from any goroutine.
type Manager struct {
	o       Options
	log     *slog.Logger
	workers []*worker
	active  atomic.Int64
	shared  sharedLimits

	mu       sync.Mutex
	snap     *snapshot.Snapshot
	sockets  map[socketKey]*socket
	failures []failure // of the last attempt
	counters map[string]*counters
	stopped  [3]bool // by direction: no new connections
	retry    *time.Timer
	closed   bool
}

// worker is a worker's part: used on that worker only.
type worker struct {
	m        *Manager
	w        *engine.Worker
	h        Handlers
	active   int
	pending  map[*conn]struct{} // not handed over yet
	needs    map[*snapshot.Listener]*needs
	counters map[string]*counters
	warned   map[any]struct{}
	rec      flow.Record
}

// New makes a Manager that listens to nothing yet.
func New(o Options) (*Manager, error) {
	if o.Engine == nil {
		return nil, errors.New("make listener manager: no engine given")
	}
	ws := o.Engine.Workers()
	if len(o.Workers) != len(ws) {
		return nil, fmt.Errorf("make listener manager: handlers for %d workers given, the engine has %d", len(o.Workers), len(ws))
	}
	o = o.withDefaults()
	m := &Manager{o: o, log: o.Logger, sockets: map[socketKey]*socket{}, counters: map[string]*counters{}}
	for i, w := range ws {
		if h := o.Workers[i]; h.HTTP == nil || h.TCP == nil || h.Recorder == nil {
			return nil, fmt.Errorf("make listener manager: worker %d needs an HTTP and a TCP handler and a recorder", i)
		}
		m.workers = append(m.workers, &worker{
			m: m, w: w, h: o.Workers[i], pending: map[*conn]struct{}{}, needs: map[*snapshot.Listener]*needs{},
			counters: map[string]*counters{}, warned: map[any]struct{}{},
		})
	}
	return m, nil
}

// Apply puts the listeners of a snapshot into force. Listeners that cannot be
// bound do not hold up the others; Status tells of them, and they are tried again.
func (m *Manager) Apply(s *snapshot.Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	old := m.snap
	m.snap = s
	m.bind()
	if old == nil || old == s {
		return
	}
	gone := changedChains(old, s)
	m.pruneCounters(s)
	m.shared.prune(s)
	// After the sockets have the new snapshot: what was accepted before is known
	// to its worker by the time this runs.
	for _, w := range m.workers {
		w.w.Post(func() { w.retire(gone) })
	}
}

// changedChains lists the chains in force of every listener that changed, by its name.
func changedChains(old, next *snapshot.Snapshot) map[string]map[*snapshot.Chain]struct{} {
	d := snapshot.Diff(old, next)
	if len(d.Listeners)+len(d.Virtual) == 0 {
		return nil
	}
	out := make(map[string]map[*snapshot.Chain]struct{}, len(d.Listeners)+len(d.Virtual))
	for _, n := range d.Listeners {
		out[n] = nil
	}
	for _, n := range d.Virtual {
		out[n] = nil
	}
	add := func(l *snapshot.Listener) {
		live, ok := out[l.Name]
		if !ok {
			return
		}
		if live == nil {
			live = make(map[*snapshot.Chain]struct{}, len(l.Chains)+1)
			out[l.Name] = live
		}
		for _, c := range l.Chains {
			live[c] = struct{}{}
		}
		if l.Default != nil {
			live[l.Default] = struct{}{}
		}
	}
	for _, l := range next.Listeners {
		add(l)
	}
	for _, l := range next.Virtual {
		add(l)
	}
	return out
}

// retire drains the connections of chains that are in force no more.
func (w *worker) retire(changed map[string]map[*snapshot.Chain]struct{}) {
	clear(w.needs)
	clear(w.warned)
	clear(w.counters)
	if len(changed) == 0 {
		return
	}
	gone := func(i *flow.Conn) bool {
		live, ok := changed[i.Listener.Name]
		if !ok {
			return false
		}
		_, in := live[i.Chain]
		return !in
	}
	w.h.HTTP.AdoptChains(func(i *flow.Conn) *snapshot.Chain {
		if !gone(i) {
			return nil
		}
		for c := range changed[i.Listener.Name] {
			if continues(i.Chain, c) {
				return c
			}
		}
		return nil
	})
	w.drain(gone)
}

// continues reports whether connections of one chain can go on under another
// without a new handshake: chosen by the same conditions, with the same transport
// and network filters, and HTTP in both.
func continues(old, next *snapshot.Chain) bool {
	if old.HTTP == nil || next.HTTP == nil || old.Name != next.Name || old.HTTP.Codec != next.HTTP.Codec {
		return false
	}
	if (old.TLS == nil) != (next.TLS == nil) || old.TLS != nil && *old.TLS != *next.TLS {
		return false
	}
	return reflect.DeepEqual(old.Match, next.Match) && reflect.DeepEqual(old.Network, next.Network)
}

func (w *worker) drain(gone func(*flow.Conn) bool) {
	w.h.HTTP.DrainChain(gone)
	w.h.TCP.DrainChain(gone, w.m.o.DrainTime)
	for c := range w.pending {
		if c.info.Chain != nil && gone(&c.info) {
			c.retired = true
		}
	}
}

// Drain begins an orderly end: HTTP connections, of inbound listeners or of all,
// are told to go elsewhere as soon as their requests are done. New connections
// are still taken, since clients learn only by and by not to come; StopAccepting
// ends that. TCP connections go on: they end with their peers, or with the process.
func (m *Manager) Drain(inboundOnly bool) {
	gone := func(i *flow.Conn) bool { return !inboundOnly || i.Listener.Direction == snapshot.Inbound }
	for _, w := range m.workers {
		w.w.Post(func() { w.h.HTTP.DrainChain(gone) })
	}
}

// StopAccepting closes the sockets, of inbound listeners or all, for good.
// Connections go on; HTTP ones are drained as by Drain.
func (m *Manager) StopAccepting(inboundOnly bool) {
	m.mu.Lock()
	m.stopped[snapshot.Inbound] = true
	if !inboundOnly {
		m.stopped = [3]bool{true, true, true}
	}
	if m.snap != nil && !m.closed {
		m.bind()
	}
	m.mu.Unlock()
	m.Drain(inboundOnly)
}

// Close closes all sockets. Connections go on until the engine is closed. It
// returns when nothing is accepted any more.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	if m.retry != nil {
		m.retry.Stop()
	}
	var wait []<-chan struct{}
	for k, s := range m.sockets {
		wait = append(wait, s.l.Stop())
		delete(m.sockets, k)
	}
	m.mu.Unlock()
	for _, c := range wait {
		<-c
	}
}

// Connections is the number of open accepted connections.
func (m *Manager) Connections() int { return int(m.active.Load()) }
