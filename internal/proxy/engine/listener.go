package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/proxy/netio"
)

const (
	// maxAccept bounds how many connections one event accepts.
	maxAccept = 64
	// acceptRest is how long a socket is left alone when there are no descriptors.
	acceptRest = 100 * time.Millisecond
	// fewConns: below so many connections a worker, new ones are evened out by
	// hand; the kernel's hash does well only with many.
	fewConns = 8
)

// ListenOptions describe a listener.
type ListenOptions struct {
	Addr        netip.AddrPort // port 0 lets the kernel choose
	Unix        string         // path of a Unix socket instead of Addr (a leading @ is the abstract namespace)
	UnixMode    uint32         // permissions of its file, 0 leaves them to the umask
	Transparent bool           // take connections to foreign addresses (TPROXY)
	ReusePort   bool           // a socket for each worker; otherwise one, whose connections go round
	V6Only      bool
	Backlog     int // default 4096
	Mark        int // SO_MARK; 0 means the engine's
	KeepAlive   netio.KeepAlive
	ConnLimit   int // connections open at once; more are accepted and closed. 0 means no limit

	// Accept is called on the connection's worker. It must set a handler; a
	// connection without one is closed.
	Accept func(c *Conn)
}

// Listener accepts connections for the engine's workers.
type Listener struct {
	engine  *Engine
	opts    ListenOptions
	addr    netip.AddrPort
	sockets []*listenSocket
	conns   atomic.Int64
	refused atomic.Uint64
	stop    sync.Once
	open    atomic.Int32
	done    chan struct{}
}

// listenSocket is a listener's socket on one worker.
type listenSocket struct {
	l     *Listener
	w     *Worker
	fd    int
	slot  uint32
	rest  Timer
	added bool
}

// Listen binds and listens, and begins to accept when the workers run. It may be
// called from any goroutine. An address in use, by another process of the same
// user too, is an error.
func (e *Engine) Listen(o ListenOptions) (*Listener, error) {
	if o.Accept == nil {
		return nil, errors.New("listen: no Accept function given")
	}
	if o.Unix != "" {
		o.ReusePort = false // one socket, whose connections go round
	} else if !o.Addr.Addr().IsValid() {
		return nil, errors.New("listen: no address given")
	}
	if o.Mark == 0 {
		o.Mark = e.opts.Mark
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("listen on %s: %w", o.Addr, ErrClosed)
	}
	l := &Listener{engine: e, opts: o, addr: o.Addr, done: make(chan struct{})}
	if err := l.bind(); err != nil {
		for _, s := range l.sockets {
			netio.Close(s.fd)
		}
		return nil, err
	}
	e.listeners[l] = struct{}{}
	l.open.Store(int32(len(l.sockets)))
	for _, s := range l.sockets {
		s.w.Post(s.add)
	}
	return l, nil
}

func (l *Listener) bind() error {
	if l.opts.Unix != "" {
		fd, err := netio.ListenUnix(l.opts.Unix, l.opts.UnixMode, l.opts.Backlog)
		if err != nil {
			return err
		}
		l.sockets = append(l.sockets, &listenSocket{l: l, w: l.engine.workers[0], fd: fd})
		return nil
	}
	n := 1
	if l.opts.ReusePort {
		n = len(l.engine.workers)
	}
	so := netio.ListenOptions{
		StreamOptions: netio.StreamOptions{Mark: l.opts.Mark, Transparent: l.opts.Transparent, KeepAlive: l.opts.KeepAlive},
		V6Only:        l.opts.V6Only,
		Backlog:       l.opts.Backlog,
	}
	if l.opts.ReusePort && l.opts.Addr.Port() != 0 && !l.engine.listensOn(l.opts.Addr) {
		// SO_REUSEPORT would let us share the port with another process of the same
		// user, silently. Without it the kernel refuses.
		fd, err := netio.Listen(l.addr, so)
		if err != nil {
			return err
		}
		netio.Close(fd)
	}
	so.ReusePort = l.opts.ReusePort
	for i := range n {
		fd, err := netio.Listen(l.addr, so)
		if err != nil {
			return err
		}
		l.addr = netio.LocalAddr(fd) // the port is known after the first
		l.sockets = append(l.sockets, &listenSocket{l: l, w: l.engine.workers[i], fd: fd})
	}
	return nil
}

// listensOn reports whether a listener of ours shares a, so that another one may
// take over from it. Called with e.mu held.
func (e *Engine) listensOn(a netip.AddrPort) bool {
	for l := range e.listeners {
		if l.addr == a && l.opts.ReusePort {
			return true
		}
	}
	return false
}

// Addr is the address listened on, with the port the kernel chose; zero for a
// Unix socket.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Conns is the number of open connections that came by this listener.
func (l *Listener) Conns() int { return int(l.conns.Load()) }

// Refused is the number of connections closed at once because of a limit.
func (l *Listener) Refused() uint64 { return l.refused.Load() }

// Stop ends accepting, after the connections that are already queued, and closes
// the sockets. Open connections go on. The channel is closed when all is done.
func (l *Listener) Stop() <-chan struct{} {
	l.stop.Do(func() {
		for _, s := range l.sockets {
			s.w.Post(s.drain)
		}
	})
	return l.done
}

// add begins to watch the socket.
func (s *listenSocket) add() {
	if s.fd < 0 || s.added {
		return
	}
	if s.w.stopping {
		s.close()
		return
	}
	// Level-triggered: what one event leaves is reported again.
	idx, err := s.w.watch(s.fd, netio.In, slot{socket: s})
	if err != nil {
		s.w.log.Error("watch listening socket", "addr", s.l.addr.String(), "err", err)
		s.close()
		return
	}
	s.slot, s.added = idx, true
}

// drain accepts what is queued and closes the socket.
func (s *listenSocket) drain() {
	for s.fd >= 0 && s.accept(maxAccept) == maxAccept {
	}
	s.close()
}

func (s *listenSocket) close() {
	if s.fd < 0 {
		return
	}
	s.rest.Stop()
	if s.added {
		s.w.unwatch(s.slot)
		s.added = false
	}
	netio.Close(s.fd)
	s.fd = -1
	if p := s.l.opts.Unix; p != "" && p[0] != '@' {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.w.log.Warn("remove socket file", "path", p, "err", err)
		}
	}
	if s.l.open.Add(-1) == 0 {
		e := s.l.engine
		e.mu.Lock()
		delete(e.listeners, s.l)
		e.mu.Unlock()
		close(s.l.done)
	}
}

// accept takes up to n connections and returns how many there were.
func (s *listenSocket) accept(n int) int {
	for i := range n {
		fd, peer, errno := netio.Accept(s.fd)
		switch errno {
		case 0:
			s.take(fd, peer)
		case unix.EAGAIN:
			return i
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			s.exhausted(errno)
			return i
		default:
			// The connection died in the queue (ECONNABORTED and the network errors
			// that Linux passes on, accept(2)); the next may be fine.
		}
	}
	return n
}

// exhausted refuses one connection and leaves the socket alone for a while.
func (s *listenSocket) exhausted(errno unix.Errno) {
	s.l.engine.spare.refuse(s.fd)
	s.countRefused()
	if s.rest.Active() || !s.added {
		return
	}
	s.w.log.Warn("cannot accept connections", "addr", s.l.addr.String(), "err", errno)
	if s.w.poller.Remove(s.fd) != nil {
		return
	}
	s.w.unwatch(s.slot)
	s.added = false
	s.rest.Fn = s.add
	s.w.StartTimer(&s.rest, acceptRest)
}

func (s *listenSocket) countRefused() {
	s.l.refused.Add(1)
	s.w.stats.refused.Add(1)
}

// take places an accepted connection on a worker, within the limits.
func (s *listenSocket) take(fd int, peer netip.AddrPort) {
	l := s.l
	if m := l.opts.ConnLimit; l.conns.Add(1) > int64(m) && m > 0 || !l.engine.reserve() {
		l.conns.Add(-1)
		s.countRefused()
		netio.Close(fd)
		return
	}
	if w := s.choose(); w != s.w {
		w.coming.Add(1)
		posted := w.post(func() {
			w.coming.Add(-1)
			l.serve(w, fd, peer)
		})
		if !posted {
			w.coming.Add(-1)
			l.serve(s.w, fd, peer)
		}
		return
	}
	l.serve(s.w, fd, peer)
}

// choose picks the worker for a connection: this one, or the one with the fewest
// while there are few, or always with a single socket.
func (s *listenSocket) choose() *Worker {
	e := s.l.engine
	if len(e.workers) == 1 || s.w.stopping {
		return s.w
	}
	if s.l.opts.ReusePort && e.conns.Load() > int64(fewConns*len(e.workers)) {
		return s.w
	}
	best := s.w
	for _, w := range e.workers {
		if w.load() < best.load() {
			best = w
		}
	}
	return best
}

// load is the number of connections a worker has or is about to be given.
func (w *Worker) load() int64 { return w.stats.conns.Load() + w.coming.Load() }

// serve makes the connection on its worker.
func (l *Listener) serve(w *Worker, fd int, peer netip.AddrPort) {
	c := w.newConn(fd, nil, open)
	c.remote, c.unix = peer, l.opts.Unix != ""
	if l.opts.Transparent {
		c.origDst = c.LocalAddr()
	}
	c.listener = l
	if err := c.attach(); err != nil {
		w.log.Error("watch accepted connection", "peer", peer.String(), "err", err)
		c.Close(err)
		return
	}
	w.stats.accepted.Add(1)
	w.cur = c
	l.opts.Accept(c)
	w.cur = nil
	if c.handler == nil {
		c.Close(nil)
	}
}

// socketsOf are a worker's sockets of all listeners.
func (e *Engine) socketsOf(w *Worker) []*listenSocket {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*listenSocket
	for l := range e.listeners {
		for _, s := range l.sockets {
			if s.w == w {
				out = append(out, s)
			}
		}
	}
	return out
}
