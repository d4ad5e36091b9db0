package engine

import (
	crand "crypto/rand"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/netio"
)

const (
	// yieldAfter is how long a busy worker runs before it lets other goroutines
	// have the processor; without that, on one processor, they would wait for the
	// scheduler's 10 ms preemption.
	yieldAfter = 500 * time.Microsecond
	// endRounds bounds how often the end of a turn repeats because flushing and
	// closing made more to flush and close.
	endRounds = 8
	trimEvery = 10 * time.Second
)

// Worker is one event loop. See the package comment for what a turn does.
type Worker struct {
	// Data is for whoever runs the worker: the proxy's per-worker state.
	Data any

	engine *Engine
	index  int
	log    *slog.Logger
	poller *netio.Poller
	base   time.Time // zero of the timers
	now    time.Time
	wheel  wheel
	rand   *rand.Rand
	local  map[any]any

	inbox struct {
		sync.Mutex
		queue  []func()
		closed bool
	}
	posted atomic.Bool  // the inbox has something
	parked atomic.Bool  // the worker waits, or is about to
	batch  []func()     // the inbox's other slice
	coming atomic.Int64 // connections on their way from other workers' sockets

	slots    []slot
	freeSlot []uint32
	nextID   uint64

	ready     []*Conn // have more to read or to hand over
	readyNext []*Conn
	dirty     []*Conn // have something to send
	dirtyNext []*Conn
	dying     []*Conn // ended; OnClose is due
	dyingNext []*Conn
	hooks     []func()
	hooksNext []func()

	pool    netio.Pool
	scratch []byte // what is read, after room for what was kept
	cipher  []byte // what is read from TLS connections, made at first use
	discard []byte // what is written to connections that have ended
	trim    Timer
	pipe    *netio.Pipe // to splice through; nil if there is none to be had
	warm    []*Conn     // TLS sessions that hold ciphers
	cool    Timer

	cur      *Conn // being handled; its handler's panic ends it
	lastRest time.Time
	rested   bool // the last wait may have parked
	stopping bool
	stats    workerStats
}

// slot is an entry of the table that epoll's keys point to. The generation tells
// a descriptor's late event from one of its successor.
type slot struct {
	gen    uint32
	conn   *Conn
	socket *listenSocket
}

func newWorker(e *Engine, index int) (*Worker, error) {
	p, err := netio.NewPoller()
	if err != nil {
		return nil, err
	}
	var seed [32]byte
	if _, err := crand.Read(seed[:]); err != nil {
		p.Close()
		return nil, fmt.Errorf("seed random numbers: %w", err)
	}
	w := &Worker{
		engine: e, index: index, poller: p,
		log:  e.log.With("worker", index),
		base: e.opts.Now(), rand: rand.New(rand.NewChaCha8(seed)),
		local:   map[any]any{},
		scratch: make([]byte, headroom+maxRead),
	}
	w.now, w.lastRest = w.base, w.base
	if w.pipe, err = netio.NewPipe(); err != nil {
		w.log.Warn("bulk transfers are copied, not spliced", "err", err)
	}
	w.trim.Fn, w.cool.Fn = w.trimPool, w.coolDown
	return w, nil
}

// Index is the worker's number, from 0.
func (w *Worker) Index() int { return w.index }

// Engine is the engine the worker belongs to.
func (w *Worker) Engine() *Engine { return w.engine }

// Now is the time at which the present turn began.
func (w *Worker) Now() time.Time { return w.now }

// Rand is the worker's source of random numbers (ChaCha8, seeded by the system).
func (w *Worker) Rand() *rand.Rand { return w.rand }

// Local returns what SetLocal stored under key, or nil.
func (w *Worker) Local(key any) any { return w.local[key] }

// SetLocal stores per-worker state under a key of its owner's own type.
func (w *Worker) SetLocal(key, v any) { w.local[key] = v }

// Post runs fn on the worker, soon. Any goroutine may call it; it does not wait.
// What one goroutine posts runs in its order. Once the engine is closed fn is
// dropped.
func (w *Worker) Post(fn func()) { w.post(fn) }

func (w *Worker) post(fn func()) bool {
	w.inbox.Lock()
	defer w.inbox.Unlock()
	if w.inbox.closed {
		return false
	}
	w.inbox.queue = append(w.inbox.queue, fn)
	w.posted.Store(true)
	// Under the lock, so that the poller is not closed meanwhile.
	if w.parked.CompareAndSwap(true, false) {
		w.poller.Wake()
	}
	return true
}

// EndOfTurn runs fn once, at the end of this turn and before anything is sent.
func (w *Worker) EndOfTurn(fn func()) { w.hooks = append(w.hooks, fn) }

// StartTimer lets t.Fn run after d, counted from Now; never earlier, and at most
// a millisecond and the length of a turn later. A timer that runs is restarted.
func (w *Worker) StartTimer(t *Timer, d time.Duration) {
	at := w.now.Sub(w.base) + max(d, 0)
	w.wheel.start(t, uint64((at+tick-1)/tick))
}

func (w *Worker) run() {
	for !w.stopping {
		w.turn()
	}
	w.shutDown()
}

// turn is one round of the loop; the package comment lists its steps.
func (w *Worker) turn() {
	n := w.wait()
	w.now = w.engine.opts.Now()
	if w.rested {
		w.lastRest, w.rested = w.now, false
	}
	w.stats.turn()
	if w.posted.Load() {
		w.runInbox()
	}
	for i := 0; i < n; {
		i = w.runEvents(i, n)
	}
	if len(w.ready) > 0 {
		w.runReady()
	}
	w.runTimers()
	w.endTurn()
}

// busy reports whether there is work that no event will announce.
func (w *Worker) busy() bool {
	return len(w.ready) > 0 || len(w.dirty) > 0 || len(w.dying) > 0 || len(w.hooks) > 0
}

// wait returns the number of ready events. It parks only when nothing is left to do.
func (w *Worker) wait() int {
	if w.busy() || w.posted.Load() {
		w.yield()
		return w.poller.Poll()
	}
	if w.now.Sub(w.lastRest) > yieldAfter || w.engine.handshakes.Running() > 0 {
		w.yield()
	}
	if at, _, ok := w.wheel.next(); ok {
		w.poller.Arm(w.now.Sub(w.base), time.Duration(at)*tick)
	}
	// Post looks at parked after it has queued, we look at the queue after we have
	// set parked: one of us sees the other.
	w.parked.Store(true)
	if w.posted.Load() {
		w.parked.Store(false)
		return w.poller.Poll()
	}
	n, err := w.poller.Wait()
	w.parked.Store(false)
	w.rested = true
	if err != nil {
		// The descriptor is ours and valid until the loop ends, so this is not
		// expected. Do not spin on it.
		w.log.Error("worker cannot wait for events", "err", err)
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // it is the waiting that has failed
	}
	return n
}

func (w *Worker) yield() {
	runtime.Gosched()
	w.lastRest = w.now
}

func (w *Worker) runInbox() {
	w.inbox.Lock()
	w.batch, w.inbox.queue = w.inbox.queue, w.batch[:0]
	w.posted.Store(false)
	w.inbox.Unlock()
	for i := 0; i < len(w.batch); {
		i = w.runFuncs(w.batch, i)
	}
	w.batch = w.batch[:0]
}

// runFuncs runs fns from i on. A panic ends it early; it returns where to go on.
func (w *Worker) runFuncs(fns []func(), i int) (next int) {
	defer w.recoverPanic()
	for next = i; next < len(fns); {
		fn := fns[next]
		fns[next] = nil
		next++
		fn()
	}
	return next
}

func (w *Worker) runEvents(i, n int) (next int) {
	defer w.recoverPanic()
	for next = i; next < n; {
		ev, ok := w.poller.Event(next)
		next++
		if !ok {
			continue
		}
		idx, gen := uint32(ev.Key), uint32(ev.Key>>32)
		if idx >= uint32(len(w.slots)) || w.slots[idx].gen != gen {
			continue
		}
		switch s := &w.slots[idx]; {
		case s.conn != nil:
			w.cur = s.conn
			s.conn.event(ev.Bits)
			w.cur = nil
		case s.socket != nil:
			s.socket.accept(maxAccept)
		}
	}
	return next
}

// runReady goes on with connections that an earlier turn left unfinished.
func (w *Worker) runReady() {
	w.ready, w.readyNext = w.readyNext[:0], w.ready
	for i := 0; i < len(w.readyNext); {
		i = w.runConns(w.readyNext, i, (*Conn).resume)
	}
	w.readyNext = w.readyNext[:0]
}

func (w *Worker) runConns(conns []*Conn, i int, do func(*Conn)) (next int) {
	defer w.recoverPanic()
	for next = i; next < len(conns); {
		c := conns[next]
		conns[next] = nil
		next++
		w.cur = c
		do(c)
		w.cur = nil
	}
	return next
}

func (w *Worker) runTimers() {
	now := uint64(w.now.Sub(w.base) / tick)
	for w.fireTimers(now) {
	}
}

func (w *Worker) fireTimers(now uint64) (more bool) {
	defer w.recoverPanic()
	more = true
	for {
		t := w.wheel.due(now)
		if t == nil {
			return false
		}
		if t.Fn != nil {
			t.Fn()
		}
	}
}

// endTurn runs hooks, sends and closes, until nothing is left of that or the
// rest has to wait for the next turn.
func (w *Worker) endTurn() {
	for range endRounds {
		if len(w.hooks) == 0 && len(w.dirty) == 0 && len(w.dying) == 0 {
			return
		}
		w.hooks, w.hooksNext = w.hooksNext[:0], w.hooks
		for i := 0; i < len(w.hooksNext); {
			i = w.runFuncs(w.hooksNext, i)
		}
		w.dirty, w.dirtyNext = w.dirtyNext[:0], w.dirty
		for i := 0; i < len(w.dirtyNext); {
			i = w.runConns(w.dirtyNext, i, (*Conn).flush)
		}
		w.dying, w.dyingNext = w.dyingNext[:0], w.dying
		for i := 0; i < len(w.dyingNext); {
			i = w.runConns(w.dyingNext, i, (*Conn).finish)
		}
	}
}

// recoverPanic, deferred, turns a panic of a handler into the end of its connection.
func (w *Worker) recoverPanic() {
	v := recover()
	if v == nil {
		return
	}
	w.stats.panics.Add(1)
	w.log.Error("handler panicked", "err", fmt.Sprint(v), "stack", string(debug.Stack()))
	if c := w.cur; c != nil {
		w.cur = nil
		c.inRead = false
		c.Close(ErrHandler)
	}
}

func (w *Worker) trimPool() {
	if w.pool.Trim() {
		w.StartTimer(&w.trim, trimEvery)
	}
}

// putBuf gives a buffer back and sees to it that the pool does not keep it forever.
func (w *Worker) putBuf(b []byte) {
	if b == nil {
		return
	}
	w.pool.Put(b)
	if !w.trim.Active() {
		w.StartTimer(&w.trim, trimEvery)
	}
}

// watch enters a descriptor into the table and the poller.
func (w *Worker) watch(fd int, bits uint32, s slot) (idx uint32, err error) {
	if n := len(w.freeSlot); n > 0 {
		idx = w.freeSlot[n-1]
		w.freeSlot = w.freeSlot[:n-1]
	} else {
		idx = uint32(len(w.slots))
		w.slots = append(w.slots, slot{})
	}
	s.gen = w.slots[idx].gen
	w.slots[idx] = s
	if err := w.poller.Add(fd, bits, uint64(s.gen)<<32|uint64(idx)); err != nil {
		w.unwatch(idx)
		return 0, err
	}
	return idx, nil
}

// unwatch frees an entry; the descriptor leaves the poller by being closed.
func (w *Worker) unwatch(idx uint32) {
	w.slots[idx] = slot{gen: w.slots[idx].gen + 1}
	w.freeSlot = append(w.freeSlot, idx)
}

func (w *Worker) stop() { w.stopping = true }

// shutDown ends everything a worker owns; it runs after the last turn.
func (w *Worker) shutDown() {
	for _, s := range w.engine.socketsOf(w) {
		s.close()
	}
	w.dropInbox()
}

// closeAll closes every connection. Handlers that dial anew when told get
// ErrClosed; the bound is for those that never stop.
func (w *Worker) closeAll() {
	for range 100 {
		for i := range w.slots {
			if c := w.slots[i].conn; c != nil {
				c.Close(ErrClosed)
			}
		}
		if len(w.hooks) == 0 && len(w.dying) == 0 {
			return
		}
		w.endTurn()
	}
}

// dropInbox refuses further posts. What was posted before still runs, so that
// connections and replies under way are not lost; then all is closed.
func (w *Worker) dropInbox() {
	w.inbox.Lock()
	w.inbox.closed = true
	rest := w.inbox.queue
	w.inbox.queue = nil
	w.inbox.Unlock()
	w.stopping = true
	for i := 0; i < len(rest); {
		i = w.runFuncs(rest, i)
	}
	w.closeAll()
}

func (w *Worker) closePoller() {
	w.inbox.Lock()
	defer w.inbox.Unlock()
	w.inbox.closed = true
	w.poller.Close()
	w.dropPipe()
}
