package up

import (
	"context"
	"fmt"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/api"
)

// printSummary prints where the mesh is reached and what to try next.
func printSummary(ctx context.Context, e *env.Env, m *env.Local, status api.Status) {
	io := e.IO
	io.Printf("\n")
	entries := entryPoints(ctx, m, status)
	width := 0
	for _, en := range entries {
		width = max(width, len(en.Name))
	}
	for _, en := range entries {
		io.Printf("%s  %s", io.OutPaint(stdio.Bold, fmt.Sprintf("%-*s", width, en.Name)), io.OutPaint(stdio.Blue, en.URL))
		if en.Host != "" {
			io.Printf("   (Host: %s)", en.Host)
		}
		if en.Wanted != 0 {
			io.Printf("   (port %d is in use)", en.Wanted)
		}
		io.Printf("\n")
	}
	for _, p := range status.Publications {
		if p.Error != "" {
			io.Sayf("%s %s is not published: %s\n", io.ErrPaint(stdio.Yellow, "!"), p.Target, p.Error)
		}
	}
	flag, name := "", ""
	if m.Name != local.DefaultName {
		flag, name = " --context local:"+m.Name, " --name "+m.Name
	}
	tips := [][2]string{}
	for _, t := range suggestions(status, entries) {
		tips = append(tips, [2]string{"meshctl" + flag + " " + t[0], t[1]})
	}
	tips = append(tips, [2]string{"meshctl down" + name, "end it; nothing is left behind"})
	width = 0
	for _, t := range tips {
		width = max(width, len(t[0]))
	}
	io.Sayf("\ntry next:\n")
	for _, t := range tips {
		io.Sayf("  %-*s   %s\n", width, t[0], io.ErrPaint(stdio.Dim, t[1]))
	}
}

// suggestions are commands that do something in this mesh.
func suggestions(status api.Status, entries []entry) [][2]string {
	out := [][2]string{{"proxy-status", "what each proxy has acknowledged"}}
	for _, p := range status.Pods {
		if p.Proxy == "sidecar" {
			_, name, _ := strings.Cut(p.Workload, "/")
			out = append(out, [2]string{"proxy-config routes " + name, "what a sidecar was told"})
			break
		}
	}
	if canary := canaryFile(status.Folder); canary != "" {
		out = append(out, [2]string{"apply -f " + canary, "a canary, live"})
	}
	if len(entries) > 0 {
		load := "load -n 200 "
		if host := entries[0].Host; host != "" {
			load += "-H 'Host: " + host + "' "
		}
		out = append(out, [2]string{load + entries[0].URL, "traffic, measured"})
	}
	return out
}
