package h2

import (
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// stream is one exchange; it implements codec.Stream.
type stream struct {
	c          *conn
	recv       codec.Receiver
	prev, next *stream // in conn.all or conn.opening; next also in conn.ended and Pool.streams
	qprev      *stream // in conn.queue
	qnext      *stream
	id         uint32

	sendWin    int
	recvWin    int
	unacked    int
	head, tail *chunk // data waiting to be sent
	pending    int    // its size
	trailers   header.List
	want       int64 // bytes of body still to come by content-length, -1 if unknown
	interim    int   // 1xx responses received
	progress   int64 // when waiting data was last added to or, once it is all, sent

	queued      bool
	hasTrailers bool // trailers wait behind data
	sentHead    bool // our head is sent
	localEnd    bool // the caller has ended our half
	localDone   bool // END_STREAM is written
	remoteHead  bool // the peer's final head has come
	remoteEnd   bool // END_STREAM has come
	answered    bool // anything has come
	noBody      bool // no body may follow the peer's head
	connect     bool // a tunnel: content-length means nothing
	headMethod  bool
	paused      bool
	above       bool // pending went above the high mark
	finishing   bool // reset it once our half is written
	closed      bool
}

// discard takes the events of streams whose owner wants no more of them.
type discard struct{}

func (discard) OnHeaders(*header.List, bool) {}
func (discard) OnData([]byte, bool)          {}
func (discard) OnTrailers(*header.List)      {}
func (discard) OnReset(codec.Reset)          {}
func (discard) OnWritable()                  {}

// ID is the stream number; 0 on a client until its head is sent.
func (s *stream) ID() uint32 { return s.id }

// Protocol is HTTP/2.
func (s *stream) Protocol() codec.Protocol { return codec.HTTP2 }

// Buffered is the number of bytes waiting for the windows or the transport.
func (s *stream) Buffered() int { return s.pending }

// PauseRead withholds the stream's window.
func (s *stream) PauseRead() { s.paused = true }

// ResumeRead gives it back.
func (s *stream) ResumeRead() {
	s.paused = false
	if !s.closed {
		s.c.returnWindow(s)
	}
}

// Reset aborts the exchange. ResetNone on a server whose response is complete
// means that the rest of the request is not wanted: what is left of the
// response is sent before RST_STREAM(NO_ERROR) (RFC 9113 §8.1).
func (s *stream) Reset(r codec.Reset) {
	if s.closed {
		return
	}
	c := s.c
	if s.id == 0 {
		c.closeStream(s)
		return
	}
	if r == codec.ResetNone && s.localEnd && !s.localDone {
		s.finishing = true
		s.recv = discard{}
		return
	}
	c.recent.add(s.id, true)
	id, code := s.id, s.resetCode(r)
	c.closeStream(s)
	c.writeReset(id, code)
}

func (s *stream) resetCode(r codec.Reset) ErrCode {
	switch {
	case s.localDone && !s.c.client, r == codec.ResetNone:
		return NoError
	case r == codec.ResetProtocol:
		return ProtocolError
	case s.c.client:
		return Cancel
	}
	switch r {
	case codec.ResetRefused, codec.ResetDrain:
		return RefusedStream
	case codec.ResetConnectFailure:
		return ConnectError
	case codec.ResetOverflow:
		return EnhanceYourCalm
	case codec.ResetLocal:
		return Cancel
	default:
		return InternalError
	}
}

// newStream makes a stream; it is linked when it has a number.
func (c *conn) newStream(id uint32) *stream {
	s := c.opt.Pool.getStream()
	s.c, s.id, s.want, s.closed = c, id, -1, false
	s.sendWin, s.recvWin = c.peerWindow, c.lim.StreamWindow
	c.open++
	return s
}

// closeStream forgets a stream. Its memory stays untouched until the next turn.
func (c *conn) closeStream(s *stream) {
	if s.closed {
		return
	}
	s.closed = true
	if s.id == 0 {
		c.opening.remove(s)
	} else {
		c.all.remove(s)
		c.streams.remove(s.id)
	}
	c.queue.remove(s)
	for k := s.head; k != nil; {
		next := k.next
		c.opt.Pool.putChunk(k)
		k = next
	}
	s.head, s.tail, s.pending = nil, nil, 0
	s.recv = discard{}
	s.next, c.ended = c.ended, s
	c.open--
}

// endRemote notes that the peer's half has ended. Events follow it, so that a
// receiver which opens another stream finds the place of this one free.
func (c *conn) endRemote(s *stream) {
	s.remoteEnd = true
	if s.localDone {
		c.closeStream(s)
	}
	s.release()
}

// release lets go of the owner once it has ended our half and has been told the
// end of the other: what still waits for a window is no concern of its, and it may
// serve another exchange by the time the peer takes it or leaves.
func (s *stream) release() {
	if s.localEnd && s.remoteEnd {
		s.recv = discard{}
	}
}

// endLocal notes that our half is written to its end.
func (c *conn) endLocal(s *stream) {
	s.localEnd, s.localDone = true, true
	switch {
	case s.remoteEnd:
		c.closeStream(s)
	case s.finishing:
		c.recent.add(s.id, true)
		id := s.id
		c.closeStream(s)
		c.writeReset(id, NoError)
	}
}

// streamList is a doubly linked list through prev and next.
type streamList struct{ head, tail *stream }

func (l *streamList) push(s *stream) {
	s.prev, s.next = l.tail, nil
	if l.tail != nil {
		l.tail.next = s
	} else {
		l.head = s
	}
	l.tail = s
}

func (l *streamList) remove(s *stream) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.head = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.tail = s.prev
	}
	s.prev, s.next = nil, nil
}

// streamQueue is the round robin of streams that can send data.
type streamQueue struct{ head, tail *stream }

func (q *streamQueue) push(s *stream) {
	if s.queued {
		return
	}
	s.queued = true
	s.qprev, s.qnext = q.tail, nil
	if q.tail != nil {
		q.tail.qnext = s
	} else {
		q.head = s
	}
	q.tail = s
}

func (q *streamQueue) remove(s *stream) {
	if !s.queued {
		return
	}
	s.queued = false
	if s.qprev != nil {
		s.qprev.qnext = s.qnext
	} else {
		q.head = s.qnext
	}
	if s.qnext != nil {
		s.qnext.qprev = s.qprev
	} else {
		q.tail = s.qprev
	}
	s.qprev, s.qnext = nil, nil
}
