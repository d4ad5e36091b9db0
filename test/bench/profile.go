package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/proxy"
)

// profileTask runs the native proxy inside of this program, which keeps its symbols.
type profileTask struct {
	Config string
	Warm   time.Duration // before the profile begins, once Go is read from standard input
	Window time.Duration
	CPU    string // files to write
	Memory string
}

// profiled is where the time goes at one point.
type profiled struct {
	point   point
	top     string  // the first lines of pprof -top
	objects float64 // allocations per request
	bytes   float64
}

// profiledPoints are those whose profile is in the report.
var profiledPoints = []string{"h1-c16", "h1-mtls-in", "grpc-c8m8", "grpc-stream"}

// takeProfiles runs each point once against a proxy of its own.
func (b *bed) takeProfiles(ctx context.Context) ([]profiled, error) {
	var out []profiled
	for _, p := range points() {
		for _, name := range profiledPoints {
			if p.name != name || !b.only.MatchString(name) {
				continue
			}
			got, err := b.profile(ctx, p)
			if err != nil {
				return nil, fmt.Errorf("profile %s: %w", name, err)
			}
			out = append(out, got)
		}
	}
	return out, nil
}

// allocations is the answer of the role.
type allocations struct{ Objects, Bytes uint64 }

func (b *bed) profile(ctx context.Context, pt point) (profiled, error) {
	out := profiled{point: pt}
	var p ports
	file, err := b.writeBootstrap(&p, "profile.yaml", 0)
	if err != nil {
		return out, err
	}
	t := profileTask{
		Config: file, Warm: b.warm, Window: b.window,
		CPU: filepath.Join(b.dir, pt.name+".cpu.pprof"), Memory: filepath.Join(b.dir, pt.name+".mem.pprof"),
	}
	text, err := marshal(t)
	if err != nil {
		return out, err
	}
	proc, err := start(ctx, "profile", b.proxyCPU, filepath.Join(b.dir, "profile.log"), b.self, "profile", text)
	if err != nil {
		return out, err
	}
	defer proc.stop()
	if err := waitReady(ctx, p.H1); err != nil {
		return out, fmt.Errorf("%w; its log: %s", err, tail(proc.log.Name()))
	}
	if _, err := proc.in.Write([]byte("go\n")); err != nil {
		return out, err
	}
	load := pt.task
	load.Addr = fmt.Sprintf("127.0.0.1:%d", pt.port(p))
	load.Keys, load.PID, load.Warm, load.Window = b.keys, proc.pid(), b.warm, b.window
	l, err := b.role(ctx, "load", load)
	if err != nil {
		return out, err
	}
	defer l.stop()
	var r loadResult
	if err := readAnswer(l, &r); err != nil {
		return out, err
	}
	var a allocations
	if err := readAnswer(proc, &a); err != nil {
		return out, err
	}
	if r.Answers == 0 || r.Errors > 0 {
		return out, fmt.Errorf("%d answers, %d errors: %s", r.Answers, r.Errors, r.First)
	}
	out.objects, out.bytes = float64(a.Objects)/float64(r.Answers), float64(a.Bytes)/float64(r.Answers)
	out.top, err = top(ctx, t.CPU)
	return out, err
}

// top is the flat part of a profile, its first lines.
func top(ctx context.Context, path string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=22", path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("read profile: %w: %s", err, stderr.String())
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "Duration") || len(out) > 0 {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n"), nil
}

// profileProxy is the role.
func profileProxy(t profileTask) error {
	text, err := os.ReadFile(t.Config)
	if err != nil {
		return err
	}
	p, err := proxy.NewStatic(proxy.Options{Workers: 1, Logger: slog.New(slog.DiscardHandler)}, text)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	var word [3]byte
	if _, err := os.Stdin.Read(word[:]); err != nil {
		stop()
		return errors.Join(err, <-ended)
	}
	time.Sleep(t.Warm + 300*time.Millisecond) // the generator has started by then
	if err := t.record(); err != nil {
		stop()
		return errors.Join(err, <-ended)
	}
	untilParentEnds()
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// record takes the profiles of a window and answers what was allocated in it.
func (t *profileTask) record() error {
	cpu, err := os.Create(t.CPU)
	if err != nil {
		return err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	time.Sleep(t.Window - 600*time.Millisecond)
	pprof.StopCPUProfile()
	runtime.ReadMemStats(&after)
	if err := cpu.Close(); err != nil {
		return err
	}
	runtime.GC() // what is in use is known as of a collection
	mem, err := os.Create(t.Memory)
	if err != nil {
		return err
	}
	if err := pprof.Lookup("allocs").WriteTo(mem, 0); err != nil {
		return err
	}
	if err := mem.Close(); err != nil {
		return err
	}
	return answer(allocations{Objects: after.Mallocs - before.Mallocs, Bytes: after.TotalAlloc - before.TotalAlloc})
}
