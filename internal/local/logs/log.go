// Package logs keeps the output of a container in a file of bounded size and
// lets readers follow it.
//
// A Log is written by the container's output and read by any number of readers
// at the same time. When the file is full it becomes <name>.1, replacing the
// one before, so at most twice the limit is on disk.
package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// DefaultLimit is the size in bytes at which a file is rotated.
const DefaultLimit = 10 << 20

// Log is one container's output.
type Log struct {
	path  string
	limit int64

	mu      sync.Mutex
	file    *os.File
	size    int64
	epoch   int           // counts rotations
	changed chan struct{} // closed and replaced at each write
	closed  bool
}

// Open creates or continues the log at path. limit 0 means DefaultLimit.
func Open(path string, limit int64) (*Log, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("look at log: %w", err)
	}
	return &Log{path: path, limit: limit, file: f, size: info.Size(), changed: make(chan struct{})}, nil
}

// Write appends p and wakes the readers. It never fails: a container must not
// stop because its output cannot be kept.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(p), nil
	}
	if l.size > 0 && l.size+int64(len(p)) > l.limit {
		l.rotate()
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	if err == nil || n > 0 {
		l.wake()
	}
	return len(p), nil
}

// rotate starts a new file; when that is impossible the old one is emptied.
func (l *Log) rotate() {
	l.epoch++
	l.size = 0
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		_ = l.file.Truncate(0)
		return
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		_ = l.file.Truncate(0) // goes on in the renamed file
		return
	}
	l.file.Close()
	l.file = f
}

func (l *Log) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Close ends the log; readers that follow it end after the last byte.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.wake()
	return l.file.Close()
}

// Tail returns the last lines of the log, at most n lines and 64 KiB.
func (l *Log) Tail(n int) []byte {
	const most = 64 << 10
	f, err := os.Open(l.path)
	if err != nil {
		return nil
	}
	defer f.Close()
	return tail(f, n, most)
}

// tail leaves f where its result begins.
func tail(f *os.File, n int, most int64) []byte {
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	start := max(0, info.Size()-most)
	b := make([]byte, info.Size()-start)
	got, err := f.ReadAt(b, start)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	b = b[:got]
	from := lastLines(b, n)
	_, _ = f.Seek(start+int64(from), io.SeekStart)
	return b[from:]
}

// lastLines is where the last n lines of b begin.
func lastLines(b []byte, n int) int {
	if n <= 0 {
		return len(b)
	}
	end := len(b)
	if end > 0 && b[end-1] == '\n' {
		end--
	}
	for range n {
		i := bytes.LastIndexByte(b[:end], '\n')
		if i < 0 {
			return 0
		}
		end = i
	}
	return end + 1
}

// Copy writes the log to w: the last lines of it (all when lines is negative)
// and, when follow is set, what comes until the log is closed or ctx ends.
func (l *Log) Copy(ctx context.Context, w io.Writer, lines int, follow bool) error {
	f, err := os.Open(l.path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { f.Close() }()
	if lines >= 0 {
		tail(f, lines, 1<<20)
	}
	l.mu.Lock()
	epoch := l.epoch
	l.mu.Unlock()
	for {
		l.mu.Lock()
		changed, closed, now := l.changed, l.closed, l.epoch
		l.mu.Unlock()
		if _, err := io.Copy(w, f); err != nil {
			return fmt.Errorf("copy log: %w", err)
		}
		if now != epoch {
			// All of the old file is read; go on at the start of the new one.
			next, err := os.Open(l.path)
			if err != nil {
				return fmt.Errorf("open rotated log: %w", err)
			}
			f.Close()
			f, epoch = next, now
			continue
		}
		if !follow || closed {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
