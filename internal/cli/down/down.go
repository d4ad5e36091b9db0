// Package down is the command `meshctl down`.
package down

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/local"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Name    string
	All     bool
	Timeout time.Duration
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e}
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End a mesh on this machine; nothing is left behind",
		Long: `End a mesh that up has started: its processes, namespaces, ports and files. A mesh
whose processes were killed is cleaned up too. Ending one that is not there is
no error.`,
		Example: `  meshctl down
  meshctl down --name staging
  meshctl down --all`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.All && cmd.Flags().Changed("name") {
				return exit.Usagef("--name and --all exclude each other")
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", local.DefaultName, "which mesh")
	f.BoolVar(&o.All, "all", false, "all meshes of this user")
	f.DurationVar(&o.Timeout, "timeout", 70*time.Second, "kill what has not ended by then")
	_ = cmd.RegisterFlagCompletionFunc("name", env.CompleteMeshes)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	names := []string{o.Name}
	if o.All {
		var err error
		if names, err = local.List(); err != nil {
			return err
		}
		if len(names) == 0 {
			o.Env.IO.Sayf("no mesh is running here\n")
		}
	}
	var errs []error
	for _, n := range names {
		errs = append(errs, o.stop(ctx, n))
	}
	return errors.Join(errs...)
}

func (o *Options) stop(ctx context.Context, name string) error {
	start := o.Env.Now()
	stopped, err := local.Stop(ctx, name, o.Timeout)
	if err != nil {
		if ctx.Err() != nil {
			return exit.New(exit.Interrupted, "interrupted while mesh %q was ending; it goes on ending", name).Try("meshctl down --name %s", name)
		}
		return exit.Failuref("mesh %q could not be ended", name).Because(err)
	}
	io := o.Env.IO
	took := o.Env.Now().Sub(start).Round(100 * time.Millisecond)
	tick := io.ErrPaint(stdio.Green, "✓")
	switch {
	case stopped.Killed:
		io.Sayf("%s mesh %q did not end when asked and was killed; nothing is left of it (%s)\n", io.ErrPaint(stdio.Yellow, "!"), name, took)
	case stopped.WasRunning:
		io.Sayf("%s mesh %q has ended; nothing is left of it (%s)\n", tick, name, took)
	case stopped.Cleaned:
		io.Sayf("%s mesh %q was gone already; its files are removed\n", tick, name)
	default:
		io.Sayf("no mesh named %q is running here\n", name)
	}
	return nil
}
