package tlsconn

import "sync"

// PoolOptions bound handshakes. Zero fields mean the default.
type PoolOptions struct {
	Running int // at once, default 1024; most of that time they wait for their peers
	Waiting int // for one of those places, default 8192; more are refused
}

// Pool runs handshakes, each on a goroutine while it lasts, a bounded number at a
// time.
type Pool struct {
	opts PoolOptions

	mu      sync.Mutex
	running int
	queue   []*Session
	head    int
}

// NewPool makes a pool.
func NewPool(o PoolOptions) *Pool {
	if o.Running <= 0 {
		o.Running = 1024
	}
	if o.Waiting <= 0 {
		o.Waiting = 8192
	}
	return &Pool{opts: o}
}

// Running is the number of handshakes under way.
func (p *Pool) Running() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

func (p *Pool) submit(s *Session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running < p.opts.Running {
		p.running++
		go p.work(s)
		return true
	}
	if len(p.queue)-p.head >= p.opts.Waiting {
		return false
	}
	p.queue = append(p.queue, s)
	return true
}

// work runs s and then whatever waits.
func (p *Pool) work(s *Session) {
	for s != nil {
		s.run()
		s = p.next()
	}
}

func (p *Pool) next() *Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == len(p.queue) {
		p.queue, p.head = nil, 0
		p.running--
		return nil
	}
	s := p.queue[p.head]
	p.queue[p.head] = nil
	p.head++
	return s
}
