// Package check is the commands `meshctl check` and `meshctl precheck`.
package check

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/installopts"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/install"
)

// Options of the command.
type Options struct {
	Env *env.Env
	installopts.Flags

	Before bool
	Wait   time.Duration
	Format stdio.Format
}

// NewCmd makes `meshctl check`; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: format()}
	cmd := newCmd(e, o, run)
	cmd.Use, cmd.Short = "check", "Look whether the mesh on a cluster is well"
	cmd.Long = `Look at the cluster, the control plane, its webhooks and certificates, the proxies
and the gateways: √ is well, ‼ is worth knowing, × is not. Each that is not well
comes with what helps. The exit code is 1 when something is ×.`
	cmd.Example = `  meshctl check
  meshctl check --wait 2m       # until all is well
  meshctl check --pre           # before an installation
  meshctl check -o json`
	cmd.Flags().BoolVar(&o.Before, "pre", false, "look only at what an installation needs")
	return cmd
}

// NewPrecheckCmd makes `meshctl precheck`; run, if not nil, takes the place of its work.
func NewPrecheckCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Before: true, Format: format()}
	cmd := newCmd(e, o, run)
	cmd.Use, cmd.Short = "precheck", "Look whether a cluster is fit for the mesh"
	cmd.Long = `Look at what an installation, or an upgrade, needs: the version of the cluster, your
rights, what is in the way. The same as check --pre.`
	cmd.Example = `  meshctl precheck
  meshctl precheck --profile demo --as jane`
	return cmd
}

func format() stdio.Format { return stdio.Formats("short") }

func newCmd(e *env.Env, o *Options, run func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	o.Add(cmd, e)
	cmd.Flags().DurationVar(&o.Wait, "wait", 0, "look again until all is well, for so long at most")
	o.Format.AddFlag(cmd)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	c, err := o.Resolve(o.Env)
	if err != nil {
		return err
	}
	objects, err := c.Render(install.Cluster{})
	if err != nil {
		return exit.Dataf("the options cannot be rendered").Because(err)
	}
	client, err := o.Env.Cluster()
	if err != nil {
		return err
	}
	i := &install.Installer{Client: client, Now: o.Env.Now}
	in := install.CheckInput{Namespace: c.Namespace, Revision: o.Revision, Release: c.Release(objects), Before: o.Before, Version: installopts.ImageTag()}
	all := i.Check(ctx, in)
	deadline := time.NewTimer(o.Wait)
	defer deadline.Stop()
	for !install.Healthy(all) && o.Wait > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			o.Wait = 0
		case <-time.After(2 * time.Second):
			all = i.Check(ctx, in)
		}
	}
	return o.print(all)
}

// print shows the results; in JSON as linkerd's check does.
func (o *Options) print(all []install.Category) error {
	ok := install.Healthy(all)
	if o.Format.IsStructured() {
		if err := o.Env.IO.Print(o.Format, stdio.Document{Value: map[string]any{"success": ok, "categories": all}}); err != nil {
			return err
		}
	} else {
		o.text(all)
	}
	if !ok {
		return exit.Silent(exit.Failure)
	}
	return nil
}

func (o *Options) text(all []install.Category) {
	io := o.Env.IO
	short := o.Format.Is("short")
	for _, c := range all {
		named := false
		for _, k := range c.Checks {
			if short && k.Result == install.Success {
				continue
			}
			if !named {
				io.Printf("%s\n", io.OutPaint(stdio.Bold, c.Name))
				named = true
			}
			mark, style := "√", stdio.Green
			switch k.Result {
			case install.Warning:
				mark, style = "‼", stdio.Yellow
			case install.Bad:
				mark, style = "×", stdio.Red
			case install.Success:
			}
			code := ""
			if k.Code != "" {
				code = " [" + k.Code + "]" // meshctl explain tells more
			}
			io.Printf("%s %s%s\n", io.OutPaint(style, mark), k.Description, code)
			if k.Error != "" {
				io.Printf("    %s\n", strings.ReplaceAll(k.Error, "\n", "\n      "))
			}
			if k.Hint != "" {
				io.Printf("    try: %s\n", k.Hint)
			}
		}
		if named {
			io.Printf("\n")
		}
	}
	if install.Healthy(all) {
		io.Printf("Status check results are √\n")
	} else {
		io.Printf("Status check results are ×\n")
	}
}
