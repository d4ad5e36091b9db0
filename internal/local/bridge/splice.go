package bridge

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// halfCloser is a connection whose sending side can be ended alone.
type halfCloser interface{ CloseWrite() error }

// Splice copies between a and b in both directions until both sides have ended,
// one fails, or ctx ends, and closes both. An end of stream is passed on as one,
// so half-closed protocols work. Between TCP sockets the kernel moves the bytes.
func Splice(ctx context.Context, a, b net.Conn) {
	stop := context.AfterFunc(ctx, func() {
		a.Close()
		b.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	oneWay := func(dst, src net.Conn) {
		_, err := io.Copy(dst, src)
		if hc, ok := dst.(halfCloser); ok && err == nil {
			if hc.CloseWrite() == nil {
				return
			}
		}
		// Without a clean end in this direction the other one has no meaning.
		a.Close()
		b.Close()
	}
	wg.Go(func() { oneWay(a, b) })
	wg.Go(func() { oneWay(b, a) })
	wg.Wait()
	a.Close()
	b.Close()
}

// isTemporary reports whether accepting can go on after err.
func isTemporary(err error) bool {
	var ne net.Error
	var e net.Error
	if errors.As(err, &e) {
		ne = e
	}
	//nolint:staticcheck // Temporary is deprecated in general but exact for accept errors.
	return ne != nil && ne.Temporary()
}
