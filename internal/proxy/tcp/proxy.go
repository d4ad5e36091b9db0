package tcp

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter/peermeta"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
)

// Upstreams is what the relay needs of its worker's *upstream.Manager.
type Upstreams interface {
	DialTCP(r *upstream.TCPRequest, h engine.Handler) (*upstream.TCPConn, *upstream.Failure)
}

// Reporter is what a Recorder may implement besides, to learn of connections
// before their end. r is lent, as in Recorder.Done.
type Reporter interface {
	// Opened tells that the endpoint is connected. It comes at most once, and not
	// for connections that fail before.
	Opened(r *flow.Record)
	// Progress tells what was relayed since the last call: periodically, and once
	// before Done. It comes only after Opened.
	Progress(r *flow.Record, received, sent uint64)
}

// Options configure a Proxy, one per worker.
type Options struct {
	Worker    *engine.Worker
	Upstreams Upstreams
	// Snapshot gives the generation in force.
	Snapshot func() *snapshot.Snapshot
	// Recorder gets every finished connection; it may be a Reporter too.
	Recorder flow.Recorder
	// Local is what metadata exchange tells of this proxy.
	Local  peermeta.Local
	Logger *slog.Logger
	// Buffer is how many bytes may wait for one sink, default 256 KiB; a listener
	// or cluster that asks for less gets less.
	Buffer int
}

const (
	defaultBuffer = 256 << 10
	minBuffer     = 16 << 10
	defaultIdle   = time.Hour
	defaultReport = 5 * time.Second
)

// Proxy relays the TCP connections of one worker.
type Proxy struct {
	o        Options
	w        *engine.Worker
	reporter Reporter
	self     []byte // our metadata exchange message
	first    *relay // all relays
	count    int
}

// New makes the proxy of a worker. It may be called before the worker runs.
func New(o Options) (*Proxy, error) {
	if o.Worker == nil || o.Upstreams == nil || o.Snapshot == nil || o.Recorder == nil {
		return nil, errors.New("make TCP proxy: worker, upstreams, snapshot and recorder are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Buffer <= 0 {
		o.Buffer = defaultBuffer
	}
	self, err := exchangeMessage(o.Local)
	if err != nil {
		return nil, fmt.Errorf("make TCP proxy: %w", err)
	}
	p := &Proxy{o: o, w: o.Worker, self: self}
	p.reporter, _ = o.Recorder.(Reporter)
	return p, nil
}

// Conns is the number of relays on this worker.
func (p *Proxy) Conns() int { return p.count }

// ServeConn takes over a connection whose chain has a TCP proxy.
func (p *Proxy) ServeConn(c *engine.Conn, info *flow.Conn) {
	r := &relay{p: p, down: c, info: info, cfg: info.Chain.TCP}
	r.client.r, r.server.r = r, r
	p.add(r)
	r.attach()
	r.begin()
}

// Speculate dials the endpoint of a connection on which nobody has spoken yet, and
// leaves c to its present handler. When the endpoint speaks, ends or fails, spoke
// is asked: true is as ServeConn; false lets the endpoint's bytes wait for commit,
// which is as ServeConn, or for cancel, which forgets it all without a record.
// Exactly one of the three must happen. spoke may be called before Speculate
// returns.
func (p *Proxy) Speculate(c *engine.Conn, info *flow.Conn, spoke func() bool) (commit, cancel func()) {
	r := &relay{p: p, down: c, info: info, cfg: info.Chain.TCP, spoke: spoke}
	r.client.r, r.server.r = r, r
	p.add(r)
	r.begin()
	return r.commit, r.forget
}

// DrainChain gives connections for which gone holds this long to end, then
// closes them: nothing in TCP tells a peer to go elsewhere.
func (p *Proxy) DrainChain(gone func(*flow.Conn) bool, within time.Duration) {
	for r := p.first; r != nil; r = r.next {
		if r.spoke == nil && gone(r.info) {
			r.endBy(p.w.Now().Add(within), endDrained)
		}
	}
}

func (p *Proxy) add(r *relay) {
	if r.next = p.first; p.first != nil {
		p.first.prev = r
	}
	p.first = r
	p.count++
}

func (p *Proxy) remove(r *relay) {
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		p.first = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	}
	r.next, r.prev = nil, nil
	p.count--
}

// buffer is the high mark for bytes that wait for one sink.
func (p *Proxy) buffer(limits ...uint32) int {
	n := p.o.Buffer
	for _, l := range limits {
		if l > 0 {
			n = min(n, int(l))
		}
	}
	return max(n, minBuffer)
}
