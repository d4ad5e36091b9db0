package collection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// Options configure a Graph. The zero value is usable.
type Options struct {
	// Logger receives failures of transformations; nil discards them.
	Logger *slog.Logger
	// Parallelism bounds the goroutines that recompute keys of one node; 0 means GOMAXPROCS.
	Parallelism int
	// MinDelay is how long Run waits for further writes after one; each write
	// starts the wait anew, up to MaxDelay after the first. 0 propagates at once.
	MinDelay time.Duration
	// MaxDelay bounds the wait; below MinDelay it counts as MinDelay.
	MaxDelay time.Duration
}

// Graph is one dataflow graph. Propagations are serialised: one runs at a time,
// in the goroutine of Run or of a caller of Flush.
type Graph struct {
	log         *slog.Logger
	parallelism int
	minDelay    time.Duration
	maxDelay    time.Duration

	wake  chan struct{} // there is something to propagate
	hurry chan struct{} // and it should not wait for the window to close
	token chan struct{} // held by the propagation in progress

	// gate keeps a propagation from taking half of a batch of writes.
	gate sync.RWMutex
	// state guards the published content of all nodes, so that readers see
	// propagations as a whole.
	state      sync.RWMutex
	generation uint64

	mu     sync.Mutex // guards the wiring below
	nodes  []node
	hooks  []func(gen uint64)
	wiring []error
}

// member is anything with a place in the order of a graph.
type member interface {
	nodeName() string
	nodeID() int
	graph() *Graph
}

// node is one vertex of the graph.
type node interface {
	member
	setID(int)
	take()           // takes pending writes (inputs only)
	step()           // computes the changes of this propagation
	changed() bool   // whether it has any
	publish()        // makes them visible; Graph.state is held
	notify(g uint64) // tells subscribers
	reset()          // forgets the changes
	dump() NodeDump
}

// NewGraph returns an empty graph.
func NewGraph(opts Options) *Graph {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Parallelism <= 0 {
		opts.Parallelism = runtime.GOMAXPROCS(0)
	}
	return &Graph{
		log:         opts.Logger,
		parallelism: opts.Parallelism,
		minDelay:    opts.MinDelay,
		maxDelay:    max(opts.MinDelay, opts.MaxDelay),
		wake:        make(chan struct{}, 1),
		hurry:       make(chan struct{}, 1),
		token:       make(chan struct{}, 1),
	}
}

// Generation returns the number of propagations that changed something.
func (g *Graph) Generation() uint64 {
	g.state.RLock()
	defer g.state.RUnlock()
	return g.generation
}

// Run propagates writes until ctx ends, and returns nil then. A graph wired
// wrongly (a node that reads another graph) is an error at once.
func (g *Graph) Run(ctx context.Context) error {
	for {
		if err := g.wiringError(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.wake:
		}
		if !g.coalesce(ctx) || !g.acquire(ctx) {
			return nil
		}
		g.propagate()
		g.release()
	}
}

// Flush returns once everything written before the call has been propagated.
// It propagates in the caller's goroutine, with or without Run. It must not be
// called inside a transformation, a subscriber, a hook or Atomically.
func (g *Graph) Flush(ctx context.Context) error {
	if err := g.wiringError(); err != nil {
		return err
	}
	if !g.acquire(ctx) {
		return fmt.Errorf("flush collections: %w", context.Cause(ctx))
	}
	defer g.release()
	g.propagate()
	return nil
}

// Hurry ends the coalescing window of Run: what was written propagates at once.
// For changes that must not wait, such as the removal of an endpoint.
func (g *Graph) Hurry() { signal(g.hurry) }

// Atomically runs fn, and makes all writes to inputs of g inside fn part of the
// same propagation. It must not be nested, nor call Flush.
func Atomically(g *Graph, fn func()) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	fn()
}

// AfterPropagation has fn called at the end of each propagation that changed
// anything, after all subscribers, in the propagation's goroutine: it may read
// all collections as one consistent set. It must not block.
func (g *Graph) AfterPropagation(fn func(gen uint64)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hooks = append(g.hooks, fn)
}

func (g *Graph) add(n node, reads ...member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range reads {
		if r.graph() != g {
			g.wiring = append(g.wiring, fmt.Errorf("collection %q reads %q, which belongs to another graph", n.nodeName(), r.nodeName()))
		}
	}
	n.setID(len(g.nodes))
	g.nodes = append(g.nodes, n)
	signal(g.wake)
}

func (g *Graph) wiringError() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.wiring...)
}

// coalesce waits until the window closes; false when ctx ended.
func (g *Graph) coalesce(ctx context.Context) bool {
	if g.minDelay <= 0 {
		return true
	}
	deadline := time.Now().Add(g.maxDelay)
	timer := time.NewTimer(g.minDelay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-g.hurry:
			return true
		case <-timer.C:
			return true
		case <-g.wake:
			timer.Reset(max(0, min(g.minDelay, time.Until(deadline))))
		}
	}
}

func (g *Graph) acquire(ctx context.Context) bool {
	select {
	case g.token <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (g *Graph) release() { <-g.token }

// propagate carries all pending writes through the graph. The caller holds the token.
func (g *Graph) propagate() {
	nodes, hooks := g.begin()
	changed := false
	for _, n := range nodes {
		n.step()
		changed = changed || n.changed()
	}
	gen := g.publish(nodes, changed)
	for _, n := range nodes {
		n.notify(gen)
	}
	if changed {
		for _, hook := range hooks {
			g.guard("hook after propagation", func() { hook(gen) })
		}
	}
	for _, n := range nodes {
		n.reset()
	}
}

// begin takes what is pending now, whole batches only.
func (g *Graph) begin() ([]node, []func(uint64)) {
	g.gate.Lock()
	defer g.gate.Unlock()
	g.mu.Lock()
	nodes, hooks := g.nodes[:len(g.nodes):len(g.nodes)], g.hooks[:len(g.hooks):len(g.hooks)]
	g.mu.Unlock()
	for _, n := range nodes {
		n.take()
	}
	return nodes, hooks
}

func (g *Graph) publish(nodes []node, changed bool) uint64 {
	g.state.Lock()
	defer g.state.Unlock()
	if changed {
		g.generation++
		for _, n := range nodes {
			n.publish()
		}
	}
	return g.generation
}

// guard runs code of others in the propagation goroutine; a panic in it must
// not take the graph down.
func (g *Graph) guard(what string, fn func()) {
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("panic in collection callback", "callback", what, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	fn()
}

// signal leaves a note in a channel of capacity one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
