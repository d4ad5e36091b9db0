// Package h1 is the push codec for HTTP/1.1 and HTTP/1.0 (RFC 9112, RFC 9110),
// both sides: NewServer decodes requests, NewClient sends them. Bytes come in by
// Feed, events go out to a codec.Receiver, bytes go out through a codec.Transport.
//
// How a message passes:
//
//  1. The head is parsed in place in the bytes fed, line by line; nothing is used
//     up until it is complete, and no line is looked at twice.
//  2. request.go, response.go and framing.go judge it: anything on which two
//     readers could disagree (RFC 9112 §11.2) is refused, not repaired.
//  3. It is copied once, into a header.List in the form of HTTP/2: pseudo-header
//     fields, lower-case names, no hop-by-hop fields.
//  4. body.go cuts the content out of its framing and hands on slices of what was fed.
//
// A connection has one exchange at a time, and its codec.Stream is used again for
// the next one: a stream must not be touched after both halves have ended or it
// was reset. Pipelined requests wait in the owner's buffer, with reading paused,
// until the response before them is sent.
//
// Upgrades and CONNECT are tunnels: their request reaches the receiver without
// end; a 101 (or a 2xx to CONNECT) makes both directions raw bytes; any other
// final answer goes on as ordinary HTTP. A tunnel's halves end on their own if the
// transport has CloseWrite() (see writeCloser), else the first end sent closes it.
package h1

import "github.com/meshctl/meshctl/internal/proxy/header"

// Options are what the two ends of a connection may want differently.
type Options struct {
	// Scheme is the :scheme of requests received, http by default. It says how
	// the connection is secured; an absolute-form target cannot change it.
	Scheme string
	// AcceptHTTP10 serves HTTP/1.0 requests; they are answered 426 otherwise.
	AcceptHTTP10 bool
	// DefaultHost is the :authority of an HTTP/1.0 request without Host. Without
	// it such a request is refused.
	DefaultHost string
	// MaxInterim bounds the interim (1xx) responses to one request, default 16.
	MaxInterim int
	// Lists lends the memory of header lists for the time of an exchange, so that
	// idle connections hold none. May be nil.
	Lists *header.Pool
}

func (o Options) defaults() Options {
	if o.Scheme == "" {
		o.Scheme = "http"
	}
	if o.MaxInterim <= 0 {
		o.MaxInterim = 16
	}
	return o
}

// writeCloser is what a transport may offer besides codec.Transport: CloseWrite
// ends the sending half once everything queued is sent (FIN or close_notify).
type writeCloser interface{ CloseWrite() }
