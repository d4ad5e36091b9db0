// Package status is the command `meshctl status`.
package status

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/network"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Name   string
	Format stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the mesh is: what runs, what is published, what is wrong",
		Long: `Show how the mesh is. The exit code is 0 when everything is ready, 1 when
something has failed, 75 when something is still starting, and 69 when there is no
mesh.`,
		Example: `  meshctl status
  meshctl status --name staging -o json`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Name, "name", "", "which mesh; the same as --context local:NAME")
	_ = cmd.RegisterFlagCompletionFunc("name", env.CompleteMeshes)
	o.Format.AddFlag(cmd)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	open := o.Env.Local
	if o.Name != "" {
		open = func(ctx context.Context) (*env.Local, error) { return env.Open(ctx, o.Name) }
	}
	m, err := open(ctx)
	if err != nil {
		return err
	}
	s, err := m.Status(ctx)
	if err != nil {
		return err
	}
	s.Diagnostics = append(s.Diagnostics, m.Any().Wrong(ctx)...)
	if o.Format.IsStructured() {
		err = o.Env.IO.Print(o.Format, stdio.Document{Value: s})
	} else {
		o.print(s)
	}
	if err != nil {
		return err
	}
	switch s.State {
	case api.Ready:
		return nil
	case api.Degraded:
		return exit.Silent(exit.Failure)
	default:
		return exit.Silent(exit.Timeout)
	}
}

func (o *Options) print(s api.Status) {
	io := o.Env.IO
	style := map[api.State]stdio.Style{api.Ready: stdio.Green, api.Degraded: stdio.Red}[s.State]
	if style == stdio.Plain {
		style = stdio.Yellow
	}
	ready := 0
	for _, p := range s.Pods {
		if p.Ready {
			ready++
		}
	}
	field := func(name, format string, args ...any) {
		io.Printf("%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	field("mesh", "%s", io.OutPaint(stdio.Bold, s.Name))
	field("state", "%s", io.OutPaint(style, string(s.State)))
	field("started", "%s ago, process %d", o.Env.Age(s.Started), s.PID)
	if s.Folder != "" {
		field("folder", "%s", s.Folder)
	}
	field("network", "%s", networkOf(s))
	field("pods", "%d of %d ready", ready, len(s.Pods))
	field("services", "%d", len(s.Services))
	for _, p := range s.Publications {
		io.Printf("%-10s %s\n", "published", publication(p))
	}
	list(io, "waiting", s.Waiting)
	list(io, "failed", s.Failed)
	if len(s.Diagnostics) > 0 {
		io.Printf("\n")
		o.Env.PrintFindings(env.Alike(s.Diagnostics))
	}
}

// networkOf says what connects the pods, and why it is not namespaces.
func networkOf(s api.Status) string {
	if s.Network != string(network.Explicit) {
		return s.Network
	}
	text := s.Network + ": without namespaces, by HTTP_PROXY; nothing is captured"
	if s.Lacking != "" {
		text += "\n           because this machine forbids user namespaces: " + s.Lacking +
			"\n           to have them: " + strings.ReplaceAll(s.LackingFix, "\n", "\n           ")
	}
	return text
}

func publication(p api.Publication) string {
	if p.Error != "" {
		return fmt.Sprintf("%s: not published: %s", p.Target, p.Error)
	}
	at := p.Address
	if p.URL != "" {
		at = p.URL
	}
	text := fmt.Sprintf("%s → %s", at, p.Target)
	if p.Wanted != 0 {
		text += fmt.Sprintf(" (port %d is in use)", p.Wanted)
	}
	return text
}

func list(io *stdio.Streams, name string, lines []string) {
	for _, l := range lines {
		io.Printf("%-10s %s\n", name, strings.ReplaceAll(l, "\n", "\n           "))
	}
}
