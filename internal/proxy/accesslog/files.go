package accesslog

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Options configure Files. Zero fields mean the default.
type Options struct {
	// Stdout and Stderr take the lines for /dev/stdout and /dev/stderr; default os.Stdout, os.Stderr.
	Stdout, Stderr io.Writer
	// FlushInterval is how long a line may wait in memory, default 1 s;
	// ConsoleInterval the same for standard output, default 50 ms.
	FlushInterval, ConsoleInterval time.Duration
	// MaxBuffer bounds the bytes that wait per worker and file, default 1 MiB.
	MaxBuffer int
	Logger    *slog.Logger // default discards
}

// maxFiles bounds the open files: paths come from the control plane.
const maxFiles = 64

// Files are the log files of the process. Safe for concurrent use.
type Files struct {
	o Options

	mu     sync.Mutex
	files  map[string]*file
	closed bool

	written, dropped, failed atomic.Uint64
}

// Stats count lines since the start.
type Stats struct {
	Written uint64 // lines put in a buffer
	Dropped uint64 // lines lost because the buffer was full
	Failed  uint64 // writes that failed; their lines are lost
}

// NewFiles makes an empty set.
func NewFiles(o Options) *Files {
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.FlushInterval <= 0 {
		o.FlushInterval = time.Second
	}
	if o.ConsoleInterval <= 0 {
		o.ConsoleInterval = 50 * time.Millisecond
	}
	if o.MaxBuffer <= 0 {
		o.MaxBuffer = 1 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Files{o: o, files: map[string]*file{}}
}

// Stats gives the counts.
func (f *Files) Stats() Stats {
	return Stats{Written: f.written.Load(), Dropped: f.dropped.Load(), Failed: f.failed.Load()}
}

// Reopen opens every file anew before its next write: for log rotation (SIGUSR1).
func (f *Files) Reopen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.files {
		x.reopen.Store(true)
		x.signal()
	}
}

// Close writes what waits and closes the files. Lines that come later are dropped.
func (f *Files) Close() {
	f.mu.Lock()
	f.closed = true
	files := f.files
	f.files = map[string]*file{}
	f.mu.Unlock()
	for _, x := range files {
		close(x.stop)
	}
	for _, x := range files {
		<-x.done
	}
}

// open finds or makes the file at path.
func (f *Files) open(path string) (*file, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.files[path]; x != nil {
		return x, nil
	}
	switch {
	case f.closed:
		return nil, fmt.Errorf("open access log %s: logs are closed", path)
	case len(f.files) >= maxFiles:
		return nil, fmt.Errorf("open access log %s: more than %d files", path, maxFiles)
	}
	x := &file{
		set: f, path: path, every: f.o.FlushInterval,
		wake: make(chan struct{}, 1), full: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	switch path {
	case "/dev/stdout", "/proc/self/fd/1":
		x.console, x.every = f.o.Stdout, f.o.ConsoleInterval
	case "/dev/stderr", "/proc/self/fd/2":
		x.console, x.every = f.o.Stderr, f.o.ConsoleInterval
	}
	f.files[path] = x
	go x.run()
	return x, nil
}

// file is one log file and its goroutine.
type file struct {
	set     *Files
	path    string
	console io.Writer // set for standard output: never opened or closed
	every   time.Duration
	reopen  atomic.Bool
	wake    chan struct{} // something waits
	full    chan struct{} // a buffer is half full
	stop    chan struct{}
	done    chan struct{}

	mu    sync.Mutex
	slots []*slot

	// Of the goroutine.
	out     *os.File
	retryAt time.Time
	warned  bool
}

// slot is the buffer of one worker for one file.
type slot struct {
	f      *file
	mu     sync.Mutex // the goroutine holds it only to take the buffer
	buf    []byte
	lines  int
	spare  []byte // of the goroutine
	halved bool   // full was signalled
}

func (x *file) slot() *slot {
	s := &slot{f: x}
	x.mu.Lock()
	x.slots = append(x.slots, s)
	x.mu.Unlock()
	return s
}

func (x *file) signal() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// run writes until stop: it sleeps while there is nothing to write.
func (x *file) run() {
	defer close(x.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-x.stop:
			x.flush()
			if x.out != nil {
				_ = x.out.Close()
			}
			return
		case <-x.wake:
		}
		timer.Reset(x.every)
		select {
		case <-x.stop:
			continue // stop is closed: the loop ends above
		case <-timer.C:
		case <-x.full:
		}
		x.flush()
	}
}

// flush writes what all workers have put in so far.
func (x *file) flush() {
	x.mu.Lock()
	slots := x.slots
	x.mu.Unlock()
	for _, s := range slots {
		s.mu.Lock()
		b, n := s.buf, s.lines
		s.buf, s.lines, s.halved = s.spare[:0], 0, false
		s.mu.Unlock()
		s.spare = b
		if len(b) == 0 {
			continue
		}
		if err := x.write(b); err != nil {
			x.set.failed.Add(1)
			if !x.warned {
				x.set.o.Logger.Warn("access log not written", "path", x.path, "lines", n, "err", err)
			}
			x.warned = true
			continue
		}
		x.warned = false
	}
}

// retryOpen is the pause before a file that cannot be opened is tried again.
const retryOpen = time.Second

func (x *file) write(b []byte) error {
	if x.console != nil {
		_, err := x.console.Write(b)
		return err
	}
	if x.reopen.Swap(false) && x.out != nil {
		_ = x.out.Close()
		x.out, x.retryAt = nil, time.Time{}
	}
	if x.out == nil {
		now := time.Now()
		if now.Before(x.retryAt) {
			return fmt.Errorf("%s could not be opened", x.path)
		}
		x.retryAt = now.Add(retryOpen)
		// Not blocking: a FIFO without a reader must not hold up the others' end.
		f, err := os.OpenFile(x.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o644)
		if err != nil {
			return err
		}
		x.out = f
	}
	if _, err := x.out.Write(b); err != nil {
		_ = x.out.Close()
		x.out = nil
		return err
	}
	return nil
}
