package up

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/network"
	"github.com/meshctl/meshctl/internal/plural"
)

// Run does it.
func Run(ctx context.Context, o *Options) error {
	s, err := o.settings()
	if err != nil {
		return err
	}
	p := newProgress(o.Env)
	start := local.Options{Settings: s, Timeout: o.Timeout, Progress: p.event, Fallback: o.sayFallback}
	if s.Network == network.Explicit {
		o.sayExplicit()
	}
	if o.Foreground {
		return o.foreground(ctx, start)
	}
	m, status, err := local.Start(ctx, start)
	var running *local.RunningError
	if errors.As(err, &running) {
		return o.already(ctx, s)
	}
	if ctx.Err() != nil && m != nil {
		return exit.New(exit.Interrupted, "interrupted; mesh %q goes on starting in the background", o.Name).
			Try("meshctl up%s, to go on waiting", o.nameFlag()).Try("meshctl down%s, to end it", o.nameFlag())
	}
	if m == nil {
		return err
	}
	return o.report(ctx, env.NewLocal(m, o.Name), status, err)
}

// foreground stays until the user ends it.
func (o *Options) foreground(ctx context.Context, start local.Options) error {
	err := local.Run(ctx, start, func(status api.Status, err error) {
		m, openErr := env.Open(ctx, o.Name)
		if openErr != nil {
			return // it has ended; Run says why
		}
		if err := o.report(ctx, m, status, err); err != nil {
			exit.Print(o.Env.IO.Err, err, func(s string) string { return s })
		}
		o.Env.IO.Sayf("\nrunning in the foreground; Ctrl-C ends the mesh\n")
	})
	if err != nil {
		return err
	}
	o.Env.IO.Sayf("mesh %q has ended; nothing is left of it\n", o.Name)
	return nil
}

// already is a second up: it says what runs, if it is the same.
func (o *Options) already(ctx context.Context, s local.Settings) error {
	m, err := env.Open(ctx, o.Name)
	if err != nil {
		return exit.New(exit.Timeout, "mesh %q is there but does not answer; it may be starting or ending", o.Name).
			Try("meshctl up%s, again in a moment", o.nameFlag()).Try("meshctl down%s", o.nameFlag())
	}
	status, err := m.Status(ctx)
	if err != nil {
		return err
	}
	if status.Folder != s.Folder {
		return exit.Failuref("mesh %q runs already, from another folder: %s", o.Name, status.Folder).
			Try("meshctl up --name OTHER %s, beside it", s.Folder).Try("meshctl down%s, first", o.nameFlag())
	}
	o.Env.IO.Sayf("mesh %q is running already\n", o.Name)
	status, err = m.WaitReady(ctx, o.Timeout, nil)
	return o.report(ctx, m, status, err)
}

// settle bounds the wait for proxies to acknowledge the first whole configuration.
const settle = 5 * time.Second

// report prints what there is now, and what is missing.
func (o *Options) report(ctx context.Context, m *env.Local, status api.Status, err error) error {
	var late *local.NotReadyError
	if err != nil && !errors.As(err, &late) {
		return err
	}
	if late == nil {
		// Ready sidecars have a first configuration; let them have the whole before
		// the first request is sent. Those that do not answer in time show in ps.
		_ = m.API.Wait(ctx, settle)
	}
	o.sayFindings(slices.Concat(status.Diagnostics, m.Any().Wrong(ctx)))
	printSummary(ctx, o.Env, m, status)
	if late != nil {
		e := exit.New(exit.Timeout, "mesh %q runs, but not everything in it is ready after %s", o.Name, late.Timeout)
		return e.Because(joinLines(late.Waiting)).Try("meshctl up%s, to go on waiting", o.nameFlag()).Try("meshctl logs POD, of one that is named above")
	}
	if len(status.Failed) > 0 {
		return exit.Failuref("mesh %q runs, but part of it has failed", o.Name).Because(joinLines(status.Failed)).
			Try("meshctl logs POD").Try("meshctl down%s", o.nameFlag())
	}
	return nil
}

// sayFindings shows what is wrong, and counts what is only worth knowing.
func (o *Options) sayFindings(ds []diag.Diagnostic) {
	notes := 0
	for _, d := range env.Alike(ds) {
		if d.Severity == diag.Info {
			notes++
			continue
		}
		o.Env.SayFindings([]diag.Diagnostic{d})
	}
	if notes > 0 {
		o.Env.IO.Sayf("%s on the manifests: meshctl status%s\n", plural.Of(notes, "note"), o.nameFlag())
	}
}

func (o *Options) nameFlag() string {
	if o.Name == local.DefaultName {
		return ""
	}
	return " --name " + o.Name
}
