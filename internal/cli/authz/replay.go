package authz

import (
	"bytes"
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/client"
	"github.com/meshctl/meshctl/internal/logline"
	"github.com/meshctl/meshctl/internal/replay"
)

// replayOptions are those of authz replay.
type replayOptions struct {
	Options
	Policies []string
	Logs     []string
	Tail     int
}

func newReplay(e *env.Env) *cobra.Command {
	o := &replayOptions{Options: Options{Env: e, Format: stdio.Formats()}}
	cmd := &cobra.Command{
		Use:   "replay [--log FILE] -f POLICIES",
		Short: "Ask changed policies about requests that were recorded",
		Long: `Ask changed policies about each request of an access log: who was let in and would be
denied, and the other way round, with the policy and the line that decides. The log
is a file (Istio's default text or JSON), or, without --log, what the sidecars of the
mesh that runs have recorded.

Callers are known by their addresses: of a log from elsewhere, give the pods as well
(--files with kubectl get pods,endpointslices,services -A -o yaml). What the log does
not tell and a policy asks for, a header or a caller, makes a request unknown; it is
not guessed.

The exit code is 1 when a request that was let in would be denied.`,
		Example: `  meshctl authz replay -f authz-deny-all.yaml
  meshctl authz replay --log access.log -f policies/ --use-kube=false --files manifests/
  kubectl logs deploy/ratings-v1 -c istio-proxy | meshctl authz replay --log - -f policy.yaml`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.Policies, "filename", "f", nil, "`file` or folder of the policies, in place of those of the same names; may be repeated")
	f.StringArrayVar(&o.Logs, "log", nil, "`file` of an access log, or - for standard input; may be repeated (default: what the mesh's sidecars have recorded)")
	f.IntVar(&o.Tail, "tail", 10_000, "of what sidecars have recorded, so many of the last `lines` each (-1: all)")
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	return cmd
}

func (o *replayOptions) run(ctx context.Context) error {
	if len(o.Policies) > 0 {
		_, findings, err := o.Env.Objects(ctx, env.ObjectSources{Paths: o.Policies, Recursive: o.Recursive})
		if err != nil {
			return err
		}
		if worst, any := diag.Worst(findings); any && worst == diag.Error {
			o.Env.SayFindings(findings)
			return exit.Dataf("nothing was asked: %s has errors", strings.Join(o.Policies, ", ")).Try("correct what is named above")
		}
	}
	entries, err := o.entries(ctx)
	if err != nil {
		return err
	}
	sources := o.WorldFlags
	sources.Paths = append(append([]string{}, o.Paths...), o.Policies...)
	w, err := o.Env.World(ctx, sources)
	if err != nil {
		return err
	}
	r, err := replay.Run(ctx, w, entries)
	if err != nil {
		return err
	}
	if o.Format.IsStructured() {
		err = o.Env.IO.Print(o.Format, stdio.Document{Kind: "Replay", Items: r})
	} else {
		o.tellReplay(r)
	}
	if err == nil && r.NowDenied > 0 {
		return exit.Silent(exit.Failure)
	}
	return err
}

// entries are the recorded requests.
func (o *replayOptions) entries(ctx context.Context) ([]logline.Entry, error) {
	if len(o.Logs) == 0 {
		return o.recorded(ctx)
	}
	files, err := o.Env.ReadFiles(o.Logs, false)
	if err != nil {
		return nil, err
	}
	var out []logline.Entry
	for _, f := range files {
		entries, skipped, err := logline.Read(bytes.NewReader(f.Data))
		if err != nil {
			return nil, exit.Dataf("cannot read %s", f.Name).Because(err)
		}
		if len(entries) == 0 {
			return nil, exit.Dataf("%s holds no line of an access log", f.Name).Try("Istio's default text format, or its JSON, is read")
		}
		if skipped > 0 {
			o.Env.IO.Sayf("%s: %d lines are none of an access log\n", f.Name, skipped)
		}
		out = append(out, entries...)
	}
	return out, nil
}

// recorded reads the logs of all sidecars.
func (o *replayOptions) recorded(ctx context.Context) ([]logline.Entry, error) {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := m.PodsIn(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []logline.Entry
	for _, p := range pods {
		if p.Proxy != "sidecar" {
			continue
		}
		var b bytes.Buffer
		if err := m.Logs(ctx, p.Namespace, p.Name, client.LogOptions{Container: "istio-proxy", Lines: o.Tail}, &b); err != nil {
			o.Env.IO.Sayf("the log of %s.%s is left out: %v\n", p.Name, p.Namespace, err)
			continue
		}
		entries, _, err := logline.Read(&b) // a sidecar's log holds more than requests
		if err != nil {
			return nil, err
		}
		for i := range entries {
			entries[i].Pod = p.Name + "." + p.Namespace
		}
		out = append(out, entries...)
	}
	if len(out) == 0 {
		return nil, exit.Failuref("the sidecars have recorded no requests").Try("send some, or turn access logs on: accessLogFile: /dev/stdout in the mesh config")
	}
	return out, nil
}

func (o *replayOptions) tellReplay(r *replay.Result) {
	io := o.Env.IO
	io.Printf("%d requests: %d stay allowed, %d stay denied, %s, %d would be allowed, %d unknown\n", r.Requests, r.StayAllowed, r.StayDenied,
		io.OutPaint(style(r.NowDenied > 0, stdio.Red), strconv.Itoa(r.NowDenied)+" would be denied"), r.NowAllowed, r.NotKnown)
	if r.Requests == 0 && r.Elsewhere > 0 {
		io.Sayf("all %d lines are of the calling side: the logs of the workloads that are called are needed\n", r.Elsewhere)
	}
	for _, part := range []struct {
		title string
		want  func(*replay.Case) bool
	}{
		{"Would be denied", func(c *replay.Case) bool { return c.Is == replay.Denied }},
		{"Would be allowed", func(c *replay.Case) bool { return c.Is == replay.Allowed }},
		{"Unknown", func(c *replay.Case) bool { return c.Is == replay.Unknown }},
	} {
		titled := false
		for _, c := range r.Cases {
			if !part.want(c) {
				continue
			}
			if !titled {
				io.Printf("\n%s\n", io.OutPaint(stdio.Bold, part.title))
				titled = true
			}
			request := strings.TrimSpace(c.Method + " " + c.Path)
			if request == "" {
				request = "TCP"
			}
			io.Printf("  %5d  %s from %s to %s\n", c.Count, request, c.From, c.To)
			io.Printf("         %s\n", c.Reason)
			if c.Decided != nil {
				io.Printf("         %s\n", io.OutPaint(stdio.Dim, c.Decided.String()))
			}
		}
	}
}

func style(on bool, s stdio.Style) stdio.Style {
	if on {
		return s
	}
	return stdio.Plain
}
