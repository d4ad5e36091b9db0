package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Limits of the TCP service.
const (
	maxEchoLine  = 64 << 10
	maxEchoConns = 4096
	echoIdle     = 5 * time.Minute
)

// serveEcho answers every line with "<prefix> <line>" on each connection, until
// ctx ends; then it closes all connections.
func serveEcho(ctx context.Context, ln net.Listener, prefix string, log *slog.Logger) error {
	e := &echo{prefix: prefix, log: log, conns: map[net.Conn]struct{}{}}
	stop := context.AfterFunc(ctx, func() {
		_ = ln.Close()
		e.closeAll()
	})
	defer stop()
	defer e.wg.Wait()
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			log.LogAttrs(ctx, slog.LevelInfo, "stopping")
			return nil
		case err != nil:
			e.closeAll()
			return errors.Join(fmt.Errorf("accept: %w", err), ln.Close())
		case !e.add(conn):
			_ = conn.Close()
			continue
		}
		e.wg.Go(func() { e.serve(ctx, conn) })
	}
}

type echo struct {
	prefix string
	log    *slog.Logger
	wg     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// add registers conn and reports false when there is no room or no time left for it.
func (e *echo) add(conn net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.conns) >= maxEchoConns {
		return false
	}
	e.conns[conn] = struct{}{}
	return true
}

func (e *echo) closeAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for conn := range e.conns {
		_ = conn.Close()
	}
}

func (e *echo) serve(ctx context.Context, conn net.Conn) {
	start, lines := time.Now(), 0
	defer func() {
		e.mu.Lock()
		delete(e.conns, conn)
		e.mu.Unlock()
		_ = conn.Close()
		e.log.LogAttrs(ctx, slog.LevelInfo, "connection",
			slog.String("peer", conn.RemoteAddr().String()),
			slog.Int("lines", lines),
			slog.Float64("duration_ms", milliseconds(time.Since(start))))
	}()
	in := bufio.NewScanner(conn)
	in.Buffer(make([]byte, 0, 1024), maxEchoLine)
	var out []byte
	for {
		if err := conn.SetDeadline(time.Now().Add(echoIdle)); err != nil {
			return
		}
		if !in.Scan() {
			return
		}
		lines++
		out = append(append(append(out[:0], e.prefix...), ' '), in.Bytes()...)
		if _, err := conn.Write(append(out, '\n')); err != nil {
			return
		}
	}
}
