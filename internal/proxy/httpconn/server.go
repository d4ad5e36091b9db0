package httpconn

import (
	"log/slog"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/h2"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
)

// Upstreams is what the router needs of the pools of its worker.
type Upstreams interface {
	Open(r *upstream.Request)
	Cancel(r *upstream.Request)
	Finish(r *upstream.Request, res upstream.Result)
}

// FilterFactory makes the filters of a manager for one worker. It must refuse
// what it does not know: a chain with a filter that cannot be made answers 500.
type FilterFactory func(m *snapshot.HTTPManager, w *engine.Worker) ([]filter.Filter, error)

// Options configure a Server, one per worker.
type Options struct {
	Worker    *engine.Worker
	Upstreams Upstreams
	// Snapshot gives the generation in force.
	Snapshot func() *snapshot.Snapshot
	Filters  FilterFactory
	// Recorder gets every finished exchange.
	Recorder flow.Recorder
	// Format writes a format string for a request.
	Format func(dst []byte, f *snapshot.Format, r *flow.Record) []byte
	Logger *slog.Logger
	Limits codec.Limits
	// LocalURI is our own SPIFFE ID, for x-forwarded-client-cert; may be nil.
	LocalURI func() string
	// HeadTimeout bounds the time a request head may take to come; 0: 60 s.
	HeadTimeout time.Duration
}

// Server serves the HTTP connections of one worker.
type Server struct {
	o       Options
	w       *engine.Worker
	chains  map[*snapshot.HTTPManager]*chain
	conns   map[*Conn]struct{}
	free    []*exchange
	over    []*exchange // finished in this turn
	recycle func()      // endOfTurn
	nextID  uint64
	date    dateCache
	active  int
	lists   header.Pool // of HTTP/1.1
	h2pool  *h2.Pool
	h2stats h2.Stats
	peers   map[snapshot.Workload]*flow.Peer
}

// chain are the filters of a manager.
type chain struct {
	filters []filter.Filter
	err     error
}

// New makes a server for a worker.
func New(o Options) *Server {
	if o.HeadTimeout <= 0 {
		o.HeadTimeout = time.Minute
	}
	o.Limits = o.Limits.Defaults()
	s := &Server{o: o, w: o.Worker, chains: map[*snapshot.HTTPManager]*chain{}, conns: map[*Conn]struct{}{}, h2pool: h2.NewPool(), peers: map[snapshot.Workload]*flow.Peer{}}
	s.recycle = s.endOfTurn
	return s
}

// Active is the number of requests being served on this worker.
func (s *Server) Active() int { return s.active }

// Conns is the number of connections on this worker.
func (s *Server) Conns() int { return len(s.conns) }

// chainOf gives the filters of m, made at first use.
func (s *Server) chainOf(m *snapshot.HTTPManager) *chain {
	c := s.chains[m]
	if c == nil {
		c = &chain{}
		if c.filters, c.err = s.o.Filters(m, s.w); c.err != nil {
			s.o.Logger.Error("filters cannot be made; requests are refused", "manager", m.StatPrefix, "err", c.err)
		}
		s.chains[m] = c
	}
	return c
}

// Forget drops the filters of managers that are in no listener of snap any more
// and serve no connection.
func (s *Server) Forget(inUse map[*snapshot.HTTPManager]bool) {
	for c := range s.conns {
		inUse[c.mgr] = true
	}
	for m := range s.chains {
		if !inUse[m] {
			delete(s.chains, m)
		}
	}
}

// AdoptChains lets connections go on under the chain that next names for them:
// a changed policy counts from the next request on, without a new connection.
func (s *Server) AdoptChains(next func(*flow.Conn) *snapshot.Chain) {
	for c := range s.conns {
		if ch := next(c.info); ch != nil {
			c.info.Chain = ch
			c.mgr = ch.HTTP
			c.chain = s.chainOf(ch.HTTP)
		}
	}
}

// DrainChain ends the connections of a chain gracefully: no new requests on
// them, running ones finish, and after the manager's drain timeout they close.
func (s *Server) DrainChain(gone func(*flow.Conn) bool) {
	for c := range s.conns {
		if gone(c.info) {
			c.drain()
		}
	}
}

// endOfTurn hands finished exchanges back for use: not earlier, since their
// methods may still be on the stack.
func (s *Server) endOfTurn() {
	for i, x := range s.over {
		s.over[i] = nil
		x.recycle()
		if len(s.free) < maxFree {
			s.free = append(s.free, x)
		}
	}
	s.over = s.over[:0]
}

const maxFree = 1024

func (s *Server) exchange() *exchange {
	if n := len(s.free); n > 0 {
		x := s.free[n-1]
		s.free[n-1] = nil
		s.free = s.free[:n-1]
		return x
	}
	return newExchange(s)
}

// dateCache holds the Date field of the current second (RFC 9110 §6.6.1).
type dateCache struct {
	sec int64
	buf []byte
}

func (d *dateCache) at(now time.Time) []byte {
	if s := now.Unix(); s != d.sec || d.buf == nil {
		d.sec = s
		d.buf = now.UTC().AppendFormat(d.buf[:0], "Mon, 02 Jan 2006 15:04:05 GMT")
	}
	return d.buf
}
