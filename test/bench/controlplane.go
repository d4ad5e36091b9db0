package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// planeRun is one run of the control plane's own benchmark.
type planeRun struct {
	sidecars int
	metrics  map[string]float64 // by unit
	err      string
}

// planeSidecars are the numbers of simulated sidecars.
var planeSidecars = []int{100, 500}

// measureControlPlane runs internal/controlplane's benchmark; what fails is told in
// the report.
func measureControlPlane(ctx context.Context) []planeRun {
	var out []planeRun
	for _, n := range planeSidecars {
		say("control plane with %d sidecars", n)
		r := planeRun{sidecars: n}
		if m, err := controlPlane(ctx, n); err != nil {
			r.err = err.Error()
		} else {
			r.metrics = m
		}
		out = append(out, r)
	}
	return out
}

func controlPlane(ctx context.Context, sidecars int) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkMesh$", "-benchtime", "20x", "-timeout", "3m",
		"github.com/meshctl/meshctl/internal/controlplane")
	cmd.Env = append(os.Environ(), "MESH_BENCH_SIDECARS="+strconv.Itoa(sidecars))
	b, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, lastLine(string(b)))
	}
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "BenchmarkMesh") {
			continue
		}
		f := strings.Fields(line)
		m := map[string]float64{}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("read %q: %w", line, err)
			}
			m[f[i+1]] = v
		}
		return m, nil
	}
	return nil, fmt.Errorf("no result: %s", lastLine(string(b)))
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
