package load

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/net/http2"
)

// dialError and tlsError tell where a request failed before it was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return "connect: " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

type tlsError struct{ err error }

func (e *tlsError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

// protocolError is an answer that breaks the rules of its protocol.
type protocolError string

func (e protocolError) Error() string { return "malformed answer: " + string(e) }

// errClosed: the connection ended before the answer did.
var errClosed = errors.New("connection closed before the answer was complete")

// kindOf sorts an error into the few kinds that a summary lists.
func kindOf(err error) string {
	var (
		dial   *dialError
		secure *tlsError
		proto  protocolError
		dns    *net.DNSError
		stream http2.StreamError
		goAway http2.GoAwayError
	)
	prefix := ""
	if errors.As(err, &dial) {
		prefix = "connect: "
	}
	switch {
	case errors.As(err, &proto):
		return proto.Error()
	case errors.As(err, &dns):
		return "connect: name " + dns.Name + " not found"
	case isTimeout(err):
		if prefix == "" && errors.As(err, &secure) {
			prefix = "TLS handshake: "
		}
		return prefix + "timeout"
	case errors.As(err, &secure):
		return "TLS handshake: " + shorten(secure.err.Error())
	case errors.Is(err, syscall.ECONNREFUSED):
		return prefix + "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return prefix + "connection reset"
	case errors.As(err, &stream):
		return "stream reset: " + stream.Code.String()
	case errors.As(err, &goAway):
		return "connection closed by GOAWAY: " + goAway.ErrCode.String()
	case errors.Is(err, errClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return prefix + "connection closed early"
	}
	return prefix + shorten(err.Error())
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		(errors.As(err, &t) && t.Timeout())
}

// shorten drops addresses, which would make a kind of its own of every
// connection, by keeping what follows the last "->host:port: ".
func shorten(s string) string {
	if i := strings.LastIndex(s, "->"); i >= 0 {
		if _, rest, ok := strings.Cut(s[i:], ": "); ok {
			s = rest
		}
	}
	if len(s) > 120 {
		s = s[:120] + "…"
	}
	return s
}
