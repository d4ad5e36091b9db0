package envoy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// calm is how long a run lasts after which earlier failures are forgotten.
	calm = time.Minute
	// patience is how long Envoy may take to end when it is told to.
	patience = 5 * time.Second
)

// supervise keeps Envoy running. It returns nil when Envoy was told to end by
// somebody else, as by POST /quitquitquit, which jobs do.
func (p *Plane) supervise(ctx context.Context, bootstrap string) error {
	pause := p.o.MinRestart
	for {
		began := time.Now()
		err := p.once(ctx, bootstrap)
		p.ready.Store(false)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			p.log.InfoContext(ctx, "Envoy has ended because it was told to")
			return nil
		}
		if time.Since(began) > calm {
			pause = p.o.MinRestart
		}
		p.log.ErrorContext(ctx, "Envoy has ended, and is started again; until then nothing is served", "err", err, "restart_in", pause.String())
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		pause = min(2*pause, p.o.MaxRestart)
	}
}

// once runs one process to its end; when ctx ends it is told to end, and killed
// when it does not.
func (p *Plane) once(ctx context.Context, bootstrap string) error {
	cmd := exec.CommandContext(ctx, p.o.Program, p.o.arguments(bootstrap)...)
	cmd.Stdout = p.o.Output
	// A group of its own: who signals ours means us, and we drain before Envoy ends.
	// It must not outlive us, whatever we die of.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	cmd.Stderr = w
	logged := make(chan struct{})
	go func() { defer close(logged); passOn(r, p.log, func() bool { return ctx.Err() != nil }) }()
	defer func() { _ = r.Close(); <-logged }()
	ended := make(chan error, 1)
	go func() {
		// The kernel sends the signal of death when the starting thread ends, so this
		// goroutine keeps its thread as long as the process lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = w.Close()
		if err == nil {
			err = cmd.Wait()
		}
		ended <- err
	}()
	return <-ended
}

// arguments are those of the program.
func (o Options) arguments(bootstrap string) []string {
	args := []string{
		"--config-path", bootstrap,
		"--disable-hot-restart",
		"--concurrency", strconv.Itoa(max(o.Concurrency, 1)),
		"--drain-time-s", strconv.Itoa(max(int(o.DrainTime/time.Second), 1)),
		"--drain-strategy", "immediate",
		"--file-flush-interval-msec", "1000",
		"--log-format", logFormat,
		"--log-level", logLevel(o.LogLevel),
	}
	levels := o.ComponentLevels
	if len(levels) == 0 {
		// A warning for each use of a deprecated field is no news to who runs a mesh.
		levels = map[string]string{"misc": "error"}
	}
	l := make([]string, 0, len(levels))
	for c, level := range levels {
		l = append(l, c+":"+level)
	}
	slices.Sort(l)
	return append(args, "--component-log-level", strings.Join(l, ","))
}

func logLevel(l string) string {
	if l == "" {
		return "warning"
	}
	return l
}

// logFormat is level, logger, and text with its newlines escaped: what logLine
// takes apart.
const logFormat = "%l %n %_"

// maxLine bounds a line of Envoy's log.
const maxLine = 64 << 10

// passOn makes Envoy's lines ours until there are no more. While it ends as it was
// told to, its warnings are of that.
func passOn(r io.Reader, log *slog.Logger, ending func() bool) {
	b := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 {
			logLine(log, strings.TrimRight(string(line), "\n"), ending())
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// logLine logs one line with its level. What has not the form was not written by
// Envoy's logger, and is seldom good news.
func logLine(log *slog.Logger, line string, ending bool) {
	level, name, text := slog.LevelWarn, "", line
	if l, rest, ok := strings.Cut(line, " "); ok {
		if n, t, ok := strings.Cut(rest, " "); ok {
			if v, ok := levels[l]; ok {
				level, name, text = v, n, t
			}
		}
	}
	if text == "" {
		return
	}
	if ending && level == slog.LevelWarn {
		level = slog.LevelDebug
	}
	if name == "" {
		log.Log(context.Background(), level, text) //nolint:sloglint // the words are Envoy's
		return
	}
	log.Log(context.Background(), level, text, "logger", name) //nolint:sloglint // the words are Envoy's
}

// levels are Envoy's words for them.
var levels = map[string]slog.Level{
	"trace": slog.LevelDebug - 4, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn,
	"error": slog.LevelError, "critical": slog.LevelError + 4,
}
