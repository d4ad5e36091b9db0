package h2

import (
	"encoding/binary"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/h2/hpack"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

const (
	// maxContinuations bounds the frames of one header block.
	maxContinuations = 32
	// bombFactor is how far above the limit a header block may decode before it
	// is taken for an attack.
	bombFactor = 8
	// maxInterim bounds the 1xx responses of one exchange.
	maxInterim = 32
)

// headerBlock is a header block in several frames.
type headerBlock struct {
	stream  uint32 // 0 if there is none
	end     bool   // END_STREAM was set on its HEADERS frame
	selfDep bool
	frames  int
	buf     []byte // from the pool
}

func (c *conn) onHeaders(h frameHeader, p []byte) {
	if h.stream == 0 || h.stream&1 == 0 {
		c.fail(ProtocolError, "http2.headers_on_wrong_stream")
		return
	}
	p, selfDep, ok := c.stripHeaders(h, p)
	if !ok {
		return
	}
	end := h.has(flagEndStream)
	if h.has(flagEndHeaders) {
		c.onBlock(h.stream, end, selfDep, p)
		return
	}
	if len(p) == 0 && !c.spend(FloodEmpty) {
		return
	}
	c.blocks = headerBlock{stream: h.stream, end: end, selfDep: selfDep, buf: append(c.opt.Pool.getBuffer(), p...)}
}

// stripHeaders takes padding and priority off a HEADERS frame.
func (c *conn) stripHeaders(h frameHeader, p []byte) (rest []byte, selfDep, ok bool) {
	pad := 0
	if h.has(flagPadded) {
		if len(p) == 0 {
			return nil, false, c.fail(FrameSizeError, "http2.frame_size")
		}
		pad, p = int(p[0]), p[1:]
	}
	if h.has(flagPriority) {
		if len(p) < 5 {
			return nil, false, c.fail(FrameSizeError, "http2.frame_size")
		}
		selfDep = binary.BigEndian.Uint32(p)&maxStreamID == h.stream
		p = p[5:]
	}
	if pad > len(p) {
		return nil, false, c.fail(ProtocolError, "http2.padding_too_long")
	}
	return p[:len(p)-pad], selfDep, true
}

func (c *conn) onContinuation(h frameHeader, p []byte) {
	blk := &c.blocks
	blk.frames++
	if blk.frames > maxContinuations || len(blk.buf)+len(p) > 2*c.lim.MaxHeaderBytes+defaultFrameSize {
		c.flood(FloodContinuation)
		return
	}
	if len(p) == 0 && !c.spend(FloodEmpty) {
		return
	}
	blk.buf = append(blk.buf, p...)
	if !h.has(flagEndHeaders) {
		return
	}
	done := *blk
	*blk = headerBlock{}
	c.onBlock(done.stream, done.end, done.selfDep, done.buf)
	c.opt.Pool.putBuffer(done.buf)
}

// onBlock decodes a complete header block, whatever becomes of it.
func (c *conn) onBlock(id uint32, end, selfDep bool, block []byte) {
	list := c.opt.Pool.getList()
	blk, err := c.dec.Decode(block, list, hpack.Limits{Bytes: c.lim.MaxHeaderBytes, Fields: c.lim.MaxHeaders})
	switch {
	case err != nil:
		c.fail(CompressionError, "http2.header_compression")
	case blk.Bytes > bombFactor*(c.lim.MaxHeaderBytes+defaultFrameSize):
		c.flood(FloodHPACK)
	case c.client:
		c.onResponseBlock(id, end, list, blk)
	default:
		c.onRequestBlock(id, end, selfDep, list, blk)
	}
	c.opt.Pool.putList(list)
}

// onRequestBlock is onBlock for servers.
func (c *conn) onRequestBlock(id uint32, end, selfDep bool, list *header.List, blk hpack.Block) {
	if s := c.streams.get(id); s != nil {
		switch {
		case s.remoteEnd:
			c.streamError(s, StreamClosed, codec.ResetProtocol)
		case selfDep:
			c.streamError(s, ProtocolError, codec.ResetProtocol)
		default:
			c.onTrailers(s, end, list, blk)
		}
		return
	}
	if id <= c.lastID {
		c.onClosedHeaders(id)
		return
	}
	c.lastID = id
	c.opened++
	c.budgets[FloodWindow].credit(10)
	c.budgets[FloodPriority].credit(10)
	switch {
	case id > c.goAwayLast: // sent before the peer saw GOAWAY: it may try elsewhere
	case selfDep:
		c.refuse(id, ProtocolError)
	case c.open >= c.lim.MaxConcurrentStreams:
		c.opt.Stats.Refused++
		c.recent.add(id, true)
		c.writeReset(id, RefusedStream)
		c.spend(FloodRefused)
	case blk.Bad != 0 && !blk.Over:
		c.refuse(id, ProtocolError)
	case blk.Over:
		c.tooLarge(id, end)
	default:
		want, connect, ok := c.checkRequest(list, end)
		if !ok {
			c.refuse(id, ProtocolError)
			return
		}
		c.accept(id, end, list, want, connect)
	}
}

// refuse answers a request that is no stream yet by RST_STREAM.
func (c *conn) refuse(id uint32, code ErrCode) {
	c.recent.add(id, true)
	c.resetClosed(id, code)
}

// onClosedHeaders deals with HEADERS for a stream that has ended (RFC 9113 §5.1).
func (c *conn) onClosedHeaders(id uint32) {
	switch found, local := c.recent.find(id); {
	case found && local || id > c.goAwayLast:
	case found:
		c.resetClosed(id, StreamClosed)
	default:
		c.fail(StreamClosed, "http2.headers_on_closed_stream")
	}
}

func (c *conn) accept(id uint32, end bool, list *header.List, want int64, connect bool) {
	s := c.newStream(id)
	s.want, s.connect = want, connect
	s.remoteHead, s.remoteEnd, s.answered = true, end, true
	c.all.push(s)
	c.streams.put(s)
	recv := c.acceptor.Accept(s)
	switch {
	case s.closed:
	case recv == nil:
		s.Reset(codec.ResetRefused)
	default:
		s.recv = recv
		recv.OnHeaders(list, end)
	}
}

// tooLarge answers a request whose fields exceed the limits with status 431.
func (c *conn) tooLarge(id uint32, end bool) {
	c.opt.Stats.HeadersOver++
	c.recent.add(id, true)
	list := c.opt.Pool.getList()
	list.AddIDString(header.Status, "431")
	list.AddIDString(header.ContentLength, "0")
	c.writeHeaders(id, list, true, responseHead)
	c.opt.Pool.putList(list)
	if !end {
		c.writeReset(id, NoError)
	}
}

// onTrailers deals with the second header block of a message.
func (c *conn) onTrailers(s *stream, end bool, list *header.List, blk hpack.Block) {
	switch {
	case blk.Over:
		c.opt.Stats.HeadersOver++
		c.streamError(s, EnhanceYourCalm, codec.ResetOverflow)
	case !end || blk.Bad != 0 || s.want > 0 || !checkTrailers(list):
		c.streamError(s, ProtocolError, codec.ResetProtocol)
	default:
		recv := s.recv
		c.endRemote(s)
		recv.OnTrailers(list)
	}
}

// onResponseBlock is onBlock for clients.
func (c *conn) onResponseBlock(id uint32, end bool, list *header.List, blk hpack.Block) {
	s := c.streams.get(id)
	switch {
	case s == nil && c.idle(id):
		c.fail(ProtocolError, "http2.headers_on_idle_stream")
	case s == nil:
		if found, local := c.recent.find(id); !found || !local {
			c.spend(FloodStray)
		}
	case s.remoteEnd:
		c.streamError(s, StreamClosed, codec.ResetProtocol)
	case s.remoteHead:
		c.onTrailers(s, end, list, blk)
	case blk.Over:
		c.opt.Stats.HeadersOver++
		c.streamError(s, Cancel, codec.ResetOverflow)
	case blk.Bad != 0:
		c.streamError(s, ProtocolError, codec.ResetProtocol)
	default:
		c.onResponse(s, end, list)
	}
}

func (c *conn) onResponse(s *stream, end bool, list *header.List) {
	status := checkResponse(list)
	if status == 0 || status < 200 && end {
		c.streamError(s, ProtocolError, codec.ResetProtocol)
		return
	}
	s.answered = true
	if status < 200 {
		if s.interim++; s.interim > maxInterim {
			c.opt.Stats.Floods[FloodInterim]++
			c.streamError(s, EnhanceYourCalm, codec.ResetProtocol)
			return
		}
		s.recv.OnHeaders(list, false)
		return
	}
	s.remoteHead = true
	s.noBody = s.headMethod || status == 204 || status == 304
	if !s.noBody && (!s.connect || status >= 300) {
		want, ok := contentLength(list)
		if !ok || end && want > 0 {
			c.streamError(s, ProtocolError, codec.ResetProtocol)
			return
		}
		s.want = want
	}
	recv := s.recv
	if end {
		c.endRemote(s)
	}
	recv.OnHeaders(list, end)
}
