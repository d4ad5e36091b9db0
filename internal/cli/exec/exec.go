// Package exec is the command `meshctl exec`.
package exec

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/local/api"
)

// maxStdin is what can be given to a command; the mesh takes no more.
const maxStdin = 4 << 20

// Options of the command.
type Options struct {
	Env *env.Env

	Pod       string
	Command   []string
	Container string
	Stdin     bool
	Timeout   time.Duration
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e}
	cmd := &cobra.Command{
		Use:   "exec POD -- COMMAND [ARG...]",
		Short: "Run a command inside a pod's network and environment",
		Long: `Run a command inside a pod: with its network, so that what it sends passes the
pod's sidecar, and a container's environment. The exit code is the command's.`,
		Example: `  # what productpage sees of reviews
  meshctl exec productpage-v1 -- curl -s http://reviews:9080/reviews/0

  echo hello | meshctl exec -i ratings-v1 -- cat`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return e.CompletePods(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || cmd.ArgsLenAtDash() != 1 {
				return exit.Usagef("exec needs a pod, --, and a command").Try("meshctl exec POD -- COMMAND")
			}
			o.Pod, o.Command = args[0], args[1:]
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	env.FreeShorthands(cmd, "kubeconfig", "istioNamespace")
	f := cmd.Flags()
	f.StringVarP(&o.Container, "container", "c", "", "`container` whose environment is used (default the first)")
	f.BoolVarP(&o.Stdin, "stdin", "i", false, "give the command this standard input, read to its end first")
	f.DurationVar(&o.Timeout, "timeout", time.Minute, "end the command after this")
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return err
	}
	pod, err := o.Env.FindPod(ctx, m, o.Pod)
	if err != nil {
		return err
	}
	req := api.ExecRequest{Container: o.Container, Command: o.Command, TimeoutSeconds: max(1, int(o.Timeout.Seconds()))}
	if o.Stdin {
		if req.Stdin, err = io.ReadAll(io.LimitReader(o.Env.IO.In, maxStdin+1)); err != nil {
			return exit.Dataf("cannot read standard input").Because(err)
		}
		if len(req.Stdin) > maxStdin {
			return exit.Dataf("standard input is larger than %d bytes", maxStdin)
		}
	}
	res, err := m.Exec(ctx, pod.Namespace, pod.Name, req)
	if err != nil {
		return err
	}
	if _, err := o.Env.IO.Out.Write(res.Stdout); err != nil {
		return err
	}
	if _, err := o.Env.IO.Err.Write(res.Stderr); err != nil {
		return err
	}
	if res.Truncated {
		o.Env.IO.Sayf("note: the output is longer; this is its beginning\n")
	}
	if res.ExitCode != 0 {
		return exit.Silent(res.ExitCode)
	}
	return nil
}
