package dashboard

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/cli/exit"
)

// page is a web page of the mesh.
type page struct {
	name string
	port int
	path string
	find func(context.Context) (way, error)
}

// listen finds the page and takes a port for it: the one wanted, else the page's own,
// else any. serve returns when its context ends.
func (o *Options) listen(ctx context.Context, p page, wanted int) (url string, serve func(context.Context) error, err error) {
	to, err := p.find(ctx)
	if err != nil {
		return "", nil, err
	}
	if to.dial != nil { // who may not reach the pod hears so at once, not from the browser
		c, err := to.dial(ctx)
		if err != nil {
			return "", nil, err
		}
		c.Close()
	}
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", hostPort(o.Address, max(wanted, 0)))
	if wanted == 0 && err == nil {
		if own, ownErr := config.Listen(ctx, "tcp", hostPort(o.Address, p.port)); ownErr == nil {
			ln.Close()
			ln = own
		}
	}
	if err != nil {
		return "", nil, exit.Failuref("cannot listen on %s", hostPort(o.Address, wanted)).Because(err).Try("choose another with --port, or leave it out")
	}
	port := ln.Addr().(*net.TCPAddr).Port
	url = "http://" + hostPort(o.Address, port) + p.path
	if to.handler != nil {
		return url, func(ctx context.Context) error { return serveHandler(ctx, ln, to.handler) }, nil
	}
	r := &relay{page: p, way: to, say: func(format string, args ...any) { o.Env.IO.Sayf(format, args...) }}
	return url, func(ctx context.Context) error { return r.serve(ctx, ln) }, nil
}

func serveHandler(ctx context.Context, ln net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(ln); ctx.Err() == nil {
		return err
	}
	return nil
}

// relay leads connections to a pod, and to another one when it goes.
type relay struct {
	page page
	say  func(format string, args ...any)

	mu  sync.Mutex
	way way
}

func (r *relay) serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		open.Go(func() { r.carry(ctx, c) })
	}
}

// carry joins a connection with one to the pod.
func (r *relay) carry(ctx context.Context, c net.Conn) {
	defer c.Close()
	to, err := r.connect(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.say("%s: %v\n", r.page.name, err)
		}
		return
	}
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { c.Close(); to.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(to, c)
		closeWrite(to)
	}()
	if _, err := io.Copy(c, to); err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		r.say("%s: %v\n", r.page.name, err)
	}
	closeWrite(c)
	c.Close()
	<-done
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// connect goes to the pod, and looks for another when that one is gone.
func (r *relay) connect(ctx context.Context) (net.Conn, error) {
	r.mu.Lock()
	now := r.way
	r.mu.Unlock()
	c, err := now.dial(ctx)
	if err == nil || ctx.Err() != nil {
		return c, err
	}
	next, findErr := r.page.find(ctx)
	if findErr != nil {
		return nil, findErr
	}
	if next.to != now.to {
		r.say("%s is gone, going on with %s\n", now.to, next.to)
	}
	r.mu.Lock()
	r.way = next
	r.mu.Unlock()
	return next.dial(ctx)
}
