package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// settings are the flags of a run.
type settings struct {
	out          string
	rounds       int
	window       time.Duration
	warm         time.Duration
	only         *regexp.Regexp
	skipMemory   bool
	skipProfiles bool
	skipPlane    bool
	analysisOnly bool
	meshctl      string
	proxyCPU     int
	loadCPU      int
	keep         string
	against      string
}

func main() {
	if len(os.Args) > 1 {
		if run, ok := roles[os.Args[1]]; ok {
			exitOn(run(os.Args[2:]))
			return
		}
	}
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	exitOn(err)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	exitOn(s.run(ctx))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*settings, error) {
	s := &settings{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&s.out, "out", "", "`file` to write the report to; empty: standard output")
	fs.IntVar(&s.rounds, "rounds", 5, "rounds of each point, at least 1")
	fs.DurationVar(&s.window, "window", 4*time.Second, "measured time of one proxy in one round")
	fs.DurationVar(&s.warm, "warm", 700*time.Millisecond, "time under load before the window")
	only := fs.String("only", "", "measure only points whose name matches this `regexp`")
	fs.BoolVar(&s.skipMemory, "skip-memory", false, "do not measure memory")
	fs.BoolVar(&s.skipProfiles, "skip-profiles", false, "do not take profiles")
	fs.BoolVar(&s.skipPlane, "skip-control-plane", false, "do not run the control plane's benchmark")
	fs.BoolVar(&s.analysisOnly, "analysis", false, "measure `meshctl analyze` alone, and change only its section of the report")
	fs.StringVar(&s.meshctl, "meshctl", "bin/meshctl", "`program` whose analysis is measured")
	fs.IntVar(&s.proxyCPU, "proxy-cpu", 1, "processor of the proxies")
	fs.IntVar(&s.loadCPU, "load-cpu", 0, "processor of the backend and the load generator")
	fs.StringVar(&s.keep, "keep", "", "`folder` for configurations, certificates and logs; empty: a temporary one")
	fs.StringVar(&s.against, "against", "", "compare with this other `meshproxy` in Envoy's place; prints the points only")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	var err error
	if s.only, err = regexp.Compile(*only); err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unknown argument %q", fs.Arg(0))
	case s.rounds < 1 || s.rounds > 1000:
		return nil, fmt.Errorf("-rounds %d: want 1 to 1000", s.rounds)
	case s.window < 100*time.Millisecond || s.window > time.Minute:
		return nil, fmt.Errorf("-window %s: want 100ms to 1m", s.window)
	case s.warm < 0 || s.warm > time.Minute:
		return nil, fmt.Errorf("-warm %s: want 0 to 1m", s.warm)
	}
	return s, nil
}

// run does all the steps of the package comment.
func (s *settings) run(ctx context.Context) error {
	dir := s.keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "meshbench"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if s.analysisOnly {
		return s.runAnalysis(ctx, dir)
	}
	b, err := prepare(ctx, s, dir)
	if err != nil {
		return err
	}
	defer b.stop()
	r := &report{settings: s, machine: describeMachine(b), began: time.Now()}
	if r.checks, err = b.check(ctx); err != nil {
		return fmt.Errorf("equal work: %w", err)
	}
	say("equal work: %d exchanges are the same through both proxies", r.checks)
	if r.points, err = b.measure(ctx); err != nil {
		return err
	}
	b.stopProxies()
	if s.against != "" {
		say("%s", comparison(r.points))
		return nil
	}
	if !s.skipMemory {
		if r.memory, err = b.measureMemory(ctx); err != nil {
			return err
		}
	}
	if !s.skipProfiles {
		if r.profiles, err = b.takeProfiles(ctx); err != nil {
			return err
		}
	}
	if !s.skipPlane {
		r.plane = measureControlPlane(ctx)
	}
	if r.analysis, err = measureAnalysis(ctx, s.meshctl, dir, s.rounds); err != nil {
		return err
	}
	return s.write(r)
}

func (s *settings) write(r *report) error {
	text := r.markdown()
	if s.out == "" {
		_, err := os.Stdout.WriteString(text)
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(s.out, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	say("written to %s", s.out)
	return nil
}

// say tells the one who waits how far it is.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
