package h2

import "github.com/meshctl/meshctl/internal/proxy/header"

const (
	chunkSize = 8 << 10

	// What a pool keeps at most; the rest is left to the garbage collector.
	keepChunks  = 128
	keepStreams = 1024
	keepBuffers = 16
	keepBuffer  = 64 << 10 // bytes of one buffer or header list
)

// chunk is a piece of a stream's unsent data.
type chunk struct {
	next *chunk
	r, w int
	buf  [chunkSize]byte
}

// Pool is memory that connections of one worker share: streams, chunks of unsent
// data, header lists and frame buffers. It belongs to one goroutine.
type Pool struct {
	streams  *stream
	nStreams int
	chunks   *chunk
	nChunks  int
	lists    []*header.List
	buffers  [][]byte
}

// NewPool makes an empty pool.
func NewPool() *Pool { return &Pool{} }

func (p *Pool) getStream() *stream {
	s := p.streams
	if s == nil {
		return new(stream)
	}
	p.streams, s.next = s.next, nil
	p.nStreams--
	return s
}

func (p *Pool) putStream(s *stream) {
	if p.nStreams >= keepStreams || s.trailers.Cap() > keepBuffer {
		return
	}
	t := s.trailers
	t.Reset()
	*s = stream{trailers: t, next: p.streams, closed: true} // closed: a call that comes too late does nothing
	p.streams = s
	p.nStreams++
}

func (p *Pool) getChunk() *chunk {
	k := p.chunks
	if k == nil {
		return new(chunk)
	}
	p.chunks, k.next, k.r, k.w = k.next, nil, 0, 0
	p.nChunks--
	return k
}

func (p *Pool) putChunk(k *chunk) {
	if p.nChunks >= keepChunks {
		return
	}
	k.next = p.chunks
	p.chunks = k
	p.nChunks++
}

// getList returns an empty list. Lists are used like a stack, so a connection
// fed from within another one's event has its own.
func (p *Pool) getList() *header.List {
	n := len(p.lists)
	if n == 0 {
		return new(header.List)
	}
	l := p.lists[n-1]
	p.lists = p.lists[:n-1]
	l.Reset()
	return l
}

func (p *Pool) putList(l *header.List) {
	if len(p.lists) < keepBuffers && l.Cap() <= keepBuffer {
		p.lists = append(p.lists, l)
	}
}

func (p *Pool) getBuffer() []byte {
	n := len(p.buffers)
	if n == 0 {
		return make([]byte, 0, 4<<10)
	}
	b := p.buffers[n-1]
	p.buffers = p.buffers[:n-1]
	return b[:0]
}

func (p *Pool) putBuffer(b []byte) {
	if b != nil && len(p.buffers) < keepBuffers && cap(b) <= keepBuffer {
		p.buffers = append(p.buffers, b)
	}
}
