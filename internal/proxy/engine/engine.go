package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/netio"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// Options of an engine. Zero fields mean the default.
type Options struct {
	Workers int          // default GOMAXPROCS
	Logger  *slog.Logger // default discards
	Mark    int          // SO_MARK of every socket the engine makes, 0 for none
	// LoopbackSource is where connections to IPv4 loopback addresses come from when
	// nothing else is said; invalid: as the kernel has it. Workloads that share a
	// machine's loopback are told apart by it.
	LoopbackSource netip.Addr
	HighWater      int              // bytes waiting to be sent above which a connection is unwritable, default 256 KiB
	LowWater       int              // at which it is writable again, default 64 KiB
	MaxConns       int              // connections of all workers, accepted or dialed; 0 means no limit
	Now            func() time.Time // default time.Now; for tests of those who use the engine
	// Linger is how long a connection that has sent its last byte waits for the
	// peer to close, so that its closing does not destroy that byte under way
	// (default 1 s). Stall is how long it may take to send, from one piece of
	// progress to the next (default 10 s).
	Linger, Stall time.Duration
	// Handshakes bounds TLS handshakes that run and that wait at once.
	Handshakes tlsconn.PoolOptions
}

func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.Workers, runtime.GOMAXPROCS(0))
	def(&o.HighWater, 256<<10)
	def(&o.LowWater, min(64<<10, o.HighWater))
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Linger <= 0 {
		o.Linger = time.Second
	}
	if o.Stall <= 0 {
		o.Stall = 10 * time.Second
	}
	return o
}

// Engine is a set of workers. Make it by New.
type Engine struct {
	opts       Options
	log        *slog.Logger
	workers    []*Worker
	handshakes *tlsconn.Pool
	conns      atomic.Int64 // of all workers
	spare      spareFD

	mu        sync.Mutex
	started   bool
	closed    bool
	listeners map[*Listener]struct{}
	running   sync.WaitGroup
}

// New makes an engine whose workers do not run yet.
func New(o Options) (*Engine, error) {
	o = o.withDefaults()
	if o.LowWater > o.HighWater {
		return nil, fmt.Errorf("make engine: low water %d is above high water %d", o.LowWater, o.HighWater)
	}
	e := &Engine{opts: o, log: o.Logger, listeners: map[*Listener]struct{}{}, handshakes: tlsconn.NewPool(o.Handshakes)}
	e.spare.open()
	for i := range o.Workers {
		w, err := newWorker(e, i)
		if err != nil {
			e.release()
			return nil, fmt.Errorf("make worker %d: %w", i, err)
		}
		e.workers = append(e.workers, w)
	}
	return e, nil
}

// Start runs the workers. Further calls do nothing.
func (e *Engine) Start() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started || e.closed {
		return
	}
	e.started = true
	for _, w := range e.workers {
		e.running.Go(func() {
			w.run()
		})
	}
}

// Workers are the engine's workers, by index.
func (e *Engine) Workers() []*Worker { return e.workers }

// Conns is the number of open connections, accepted and dialed.
func (e *Engine) Conns() int { return int(e.conns.Load()) }

// Close ends every connection with ErrClosed, then the workers. It does not
// drain: whoever wants that stops the listeners and waits for Conns to reach 0
// before. It returns early when ctx ends; the workers still stop.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	closed, started := e.closed, e.started
	e.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}
	if !started {
		for _, w := range e.workers {
			w.dropInbox()
		}
		e.release()
		return nil
	}
	for _, w := range e.workers {
		w.Post(w.stop)
	}
	done := make(chan struct{})
	go func() {
		e.running.Wait()
		e.release()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close engine: workers still busy: %w", ctx.Err())
	}
}

func (e *Engine) release() {
	for _, w := range e.workers {
		w.closePoller()
	}
	e.spare.close()
}

// spareFD is one descriptor kept in reserve: when there are none left, giving it
// up lets a waiting connection be accepted and refused, instead of being
// reported as ready forever.
type spareFD struct {
	mu sync.Mutex
	fd int
}

func (s *spareFD) open() {
	fd, err := netio.Open("/dev/null")
	if err != nil {
		fd = -1
	}
	s.fd = fd
}

// refuse accepts one connection of a listening socket and closes it.
func (s *spareFD) refuse(lfd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		s.open()
		return
	}
	netio.Close(s.fd)
	s.fd = -1
	if fd, _, errno := netio.Accept(lfd); errno == 0 {
		netio.ResetOnClose(fd)
		netio.Close(fd)
	}
	s.open()
}

func (s *spareFD) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		netio.Close(s.fd)
		s.fd = -1
	}
}
