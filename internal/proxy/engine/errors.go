package engine

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Reasons OnClose is given. nil means an orderly end: both halves closed, or
// closed by us after the last byte was sent.
var (
	ErrReset     = errors.New("connection reset by peer")
	ErrReadLimit = errors.New("message larger than the read limit")
	ErrClosed    = errors.New("engine closed")
	ErrLimit     = errors.New("connection limit reached")
	ErrTimeout   = errors.New("connection timed out") // the kernel gave up: keepalive, retransmission
	ErrStalled   = errors.New("peer did not take the last bytes in time")
	ErrHandler   = errors.New("internal error while handling the connection")
)

// DialKind says how connecting failed.
type DialKind uint8

// Kinds of failure.
const (
	DialFailed      DialKind = iota // see the wrapped error
	DialRefused                     // nobody listens there
	DialTimeout                     // no answer in time
	DialUnreachable                 // no route, or a router or firewall said no
	DialLocal                       // our side: no descriptors, ports or permission; bad address
	DialTLS                         // TCP was up, the TLS handshake failed
)

// String is a stable word for logs.
func (k DialKind) String() string {
	switch k {
	case DialRefused:
		return "connection refused"
	case DialTimeout:
		return "connection timeout"
	case DialUnreachable:
		return "network unreachable"
	case DialLocal:
		return "local failure"
	case DialTLS:
		return "TLS failure"
	case DialFailed:
		return "connect failure"
	default:
		return "connect failure"
	}
}

// DialError is what OnClose is given when a dialed connection never came up.
type DialError struct {
	Kind DialKind
	To   string // the address
	Err  error
}

func (e *DialError) Error() string { return fmt.Sprintf("connect to %s: %s: %v", e.To, e.Kind, e.Err) }

func (e *DialError) Unwrap() error { return e.Err }

// dialKind tells what an errno of connect means.
func dialKind(err error) DialKind {
	var e unix.Errno
	if !errors.As(err, &e) {
		return DialLocal
	}
	switch e {
	case unix.ECONNREFUSED, unix.ENOENT: // ENOENT: the Unix socket's file is not there
		return DialRefused
	case unix.ETIMEDOUT:
		return DialTimeout
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN:
		return DialUnreachable
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EADDRNOTAVAIL, unix.EADDRINUSE, unix.EACCES, unix.EPERM, unix.EINVAL, unix.EAFNOSUPPORT:
		return DialLocal
	default:
		return DialFailed
	}
}

// connError turns an errno of a running connection into an error. The common
// ones allocate nothing.
func connError(e unix.Errno) error {
	switch e {
	case 0:
		return nil
	case unix.ECONNRESET, unix.EPIPE:
		return ErrReset
	case unix.ETIMEDOUT:
		return ErrTimeout
	default:
		return fmt.Errorf("connection failed: %w", e)
	}
}
