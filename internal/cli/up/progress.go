package up

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/local/api"
)

// progress prints one line for each step, with the time since the start.
type progress struct {
	env   *env.Env
	start time.Time
	mu    sync.Mutex
}

func newProgress(e *env.Env) *progress { return &progress{env: e, start: e.Now()} }

// shown are the kinds of event that are steps; warnings are always shown.
var shown = map[string]string{
	"NodeReady": "network of the mesh", "ControlPlaneReady": "control plane", "PodReady": "", "PodCompleted": "", "Published": "",
}

// event prints a step, and all warnings.
func (p *progress) event(e api.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	label, ok := shown[e.Kind]
	if !ok && !e.Warning {
		return
	}
	io := p.env.IO
	mark := io.ErrPaint(stdio.Green, "✓")
	if e.Warning {
		mark = io.ErrPaint(stdio.Yellow, "!")
	}
	what := label
	if what == "" {
		what = workload(strings.TrimPrefix(e.Object, "Pod "))
	}
	if e.Kind == "Published" {
		what = "port " + e.Object
	}
	detail := e.Message
	switch e.Kind {
	case "PodReady":
		detail = "ready " + e.Message
	case "PodCompleted":
		detail = "completed " + e.Message
	}
	line := fmt.Sprintf("%s %6s  %-44s %s", mark, seconds(p.env.Now().Sub(p.start)), what, io.ErrPaint(stdio.Dim, detail))
	io.Sayf("%s\n", strings.TrimRight(line, " "))
}

// podSuffix is what a Deployment's pods have after its name.
var podSuffix = regexp.MustCompile(`-[a-z0-9]{6,10}-[a-z0-9]{5}$`)

// workload shortens a pod's name to what people call it.
func workload(pod string) string { return podSuffix.ReplaceAllString(pod, "") }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

func joinLines(lines []string) error { return errors.New(strings.Join(lines, "\n")) }
