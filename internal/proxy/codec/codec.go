// Package codec is the contract between the HTTP codecs (h1, h2) and those who
// use them: the downstream connection manager and the upstream pools.
//
// A codec is a push state machine: bytes in by Feed, events out by Receiver,
// bytes out through Transport. It does no I/O, starts no goroutine, sets no
// timer and belongs to one goroutine. Feeding the same bytes in other pieces
// gives the same events.
package codec

import (
	"errors"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// Transport is what a codec sends through: one connection of a worker. If it also
// has CloseWrite(), which ends the sending half once everything queued is sent,
// the halves of an HTTP/1 tunnel end on their own.
type Transport interface {
	// Buffer returns the buffer of bytes to be sent at the end of this turn and
	// schedules the connection for it. Append to it; do not keep it.
	Buffer() *[]byte
	// Write queues b after what is buffered, or hands it to the kernel at once
	// when it is large and nothing waits. It never blocks and never keeps b.
	Write(b []byte)
	// Buffered is the number of bytes queued and not yet taken by the kernel.
	Buffered() int
	// PauseRead stops Feed until ResumeRead; calls do not nest. ResumeRead does
	// not call Feed itself: the owner offers what was left when it is its turn.
	PauseRead()
	ResumeRead()
}

// Conn is one connection's codec, either side.
type Conn interface {
	// Feed decodes b and returns how many bytes it used. What is left must be
	// offered again in front of further bytes. Feed may stop early because a
	// receiver paused. After an error the connection is finished: the codec has
	// queued what the peer is owed (400, GOAWAY); the owner flushes and closes.
	Feed(b []byte) (n int, err error)
	// EOF tells that the peer has closed its sending half. An error means that a
	// message was cut short; streams concerned have been told by OnReset.
	EOF() error
	// Fail tells that the connection is gone: every open stream gets OnReset(r).
	Fail(r Reset)
	// Writable tells that the transport's buffer has drained below the low mark:
	// the codec sends what was held back and tells streams by OnWritable.
	Writable()
	// Drain starts a graceful end: no new streams, the running ones finish.
	// (H1: "connection: close" on the next response; H2: GOAWAY.)
	Drain()
	// Streams is the number of open streams.
	Streams() int
	// Done reports that the codec wants the connection closed once it is flushed.
	Done() bool
}

// ServerConn decodes requests. Each one calls the Acceptor given at construction.
type ServerConn interface{ Conn }

// Acceptor makes the receiver of a new request.
type Acceptor interface {
	Accept(s Stream) Receiver
}

// ClientConn sends requests.
type ClientConn interface {
	Conn
	// Open starts a request. It is an error when CanOpen is false.
	Open(r Receiver) (Stream, error)
	// CanOpen is the number of further streams that may be opened now.
	CanOpen() int
}

// Stream is the sending half of one exchange.
type Stream interface {
	// SendHeaders sends a request or response head. h must hold the
	// pseudo-headers of its kind; hop-by-hop fields of HTTP/1 are the codec's own
	// business (RFC 9110 §7.6.1) and are dropped from h if present, but for an
	// upgrade. A head with a 1xx status other than 101 is interim.
	SendHeaders(h *header.List, end bool)
	SendData(b []byte, end bool)
	SendTrailers(h *header.List)
	// Reset aborts the exchange. No further event comes. Safe to call twice.
	Reset(r Reset)
	// PauseRead stops OnData for this stream within the bounds of its
	// flow-control window (H2) or at once (H1); ResumeRead goes on.
	PauseRead()
	ResumeRead()
	// Buffered is the number of bytes sent on this stream which wait for the
	// transport or for the peer's window.
	Buffered() int
	// ID is the HTTP/2 stream number, or a running number for HTTP/1.
	ID() uint32
	// Protocol is the version spoken on the wire.
	Protocol() Protocol
}

// Receiver gets the other half. Lists are the codec's: to keep one, Swap it. No
// event comes after both halves have ended, be what was sent still on its way or not.
type Receiver interface {
	OnHeaders(h *header.List, end bool)
	OnData(b []byte, end bool)
	OnTrailers(h *header.List)
	// OnReset ends the exchange: no further event comes after it.
	OnReset(r Reset)
	// OnWritable tells that Buffered fell below the low mark after being above the high mark.
	OnWritable()
}

// Protocol is an HTTP version.
type Protocol uint8

// Versions.
const (
	HTTP10 Protocol = iota + 1
	HTTP11
	HTTP2
)

// String is the form access logs use.
func (p Protocol) String() string {
	switch p {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP11:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	default:
		return "-"
	}
}

// Reset says why an exchange ended before its time.
type Reset uint8

// Reasons.
const (
	ResetNone            Reset = iota
	ResetLocal                 // we gave up: timeout, client gone
	ResetRemote                // the peer reset the stream or closed in the middle
	ResetRefused               // the peer has not looked at it: safe to retry
	ResetBeforeAnyByte         // the connection ended before a byte of the answer came
	ResetConnectFailure        // no connection could be made
	ResetOverflow              // a limit of ours
	ResetProtocol              // the peer broke the protocol
	ResetConnectionEnded       // the connection ended in the middle
	ResetDrain
)

// String names the reason as Envoy's response code details do.
func (r Reset) String() string {
	switch r {
	case ResetNone:
		return ""
	case ResetLocal:
		return "local_reset"
	case ResetRemote:
		return "remote_reset"
	case ResetRefused:
		return "remote_refused_stream_reset"
	case ResetBeforeAnyByte, ResetConnectionEnded:
		return "connection_termination"
	case ResetConnectFailure:
		return "connection_failure"
	case ResetOverflow:
		return "overflow"
	case ResetProtocol:
		return "protocol_error"
	case ResetDrain:
		return "drain"
	default:
		return "unknown"
	}
}

// Limits bound what a peer may make us hold. Zero fields mean the default.
type Limits struct {
	MaxHeaderBytes       int // head or trailers, default 60 KiB as Envoy's
	MaxHeaders           int // fields, default 100
	MaxConcurrentStreams int // H2, default 100 (as Istio 1.31 leaves unset: 1<<31-1 at Envoy; ours is bounded)
	StreamWindow         int // H2 receive window of a stream, default 256 KiB
	ConnWindow           int // H2 receive window of a connection, default 1 MiB
	HighWater            int // bytes buffered for sending that make a stream unwritable, default 256 KiB
	LowWater             int // bytes at which it is writable again, default 64 KiB
}

// Defaults fills in zero fields.
func (l Limits) Defaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.MaxHeaderBytes, 60<<10)
	def(&l.MaxHeaders, 100)
	def(&l.MaxConcurrentStreams, 100)
	def(&l.StreamWindow, 256<<10)
	def(&l.ConnWindow, 1<<20)
	def(&l.HighWater, 256<<10)
	def(&l.LowWater, 64<<10)
	return l
}

// Error is a protocol error: what the peer did and how it was answered.
type Error struct {
	Status int    // HTTP/1 status sent to the peer, 0 if none
	Code   uint32 // HTTP/2 error code, 0 if none
	Detail string // stable words for logs, e.g. http1.both_cl_and_te
}

func (e *Error) Error() string { return e.Detail }

// ErrStreams is returned by Open when no further stream may be opened.
var ErrStreams = errors.New("codec: no stream can be opened on this connection")
