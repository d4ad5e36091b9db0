// Package logs is the command `meshctl logs`.
package logs

import (
	"bufio"
	"context"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/client"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Pod       string
	Container string
	Follow    bool
	Tail      int
	Prefix    bool
	AllPods   bool
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e}
	cmd := &cobra.Command{
		Use:   "logs POD",
		Short: "Show the output of a pod's container, or its proxy's access log",
		Long: `Show what a container of a pod has written. POD is a pod, the beginning of a pod's
name, or a workload: productpage-v1, deploy/reviews-v2, reviews-v2.default. Of
several pods the first that is ready is taken, or all with --all-pods.`,
		Example: `  # the access log of productpage's sidecar, live
  meshctl logs productpage-v1 -c istio-proxy -f

  # the application's last 20 lines
  meshctl logs deploy/ratings-v1 --tail 20`,
		Args:              env.Args(1, 1),
		ValidArgsFunction: e.CompletePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Pod = args[0]
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	env.FreeShorthands(cmd, "kubeconfig")
	f := cmd.Flags()
	f.StringVarP(&o.Container, "container", "c", "", "`container`; istio-proxy is the sidecar (default the first of the pod)")
	f.BoolVarP(&o.Follow, "follow", "f", false, "go on showing what is written")
	f.IntVar(&o.Tail, "tail", -1, "only the last `lines`; -1 shows all that are kept")
	f.BoolVar(&o.Prefix, "prefix", false, "begin each line with the pod's name")
	f.BoolVar(&o.AllPods, "all-pods", false, "of all pods that POD means")
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return err
	}
	pods, err := o.Env.FindPods(ctx, m, o.Pod)
	if err != nil {
		return err
	}
	if !o.AllPods {
		p, err := o.Env.FindPod(ctx, m, o.Pod)
		if err != nil {
			return err
		}
		if len(pods) > 1 {
			o.Env.IO.Sayf("%d pods are meant; this is %s\n", len(pods), p.Name)
		}
		pods = []api.Pod{p}
	}
	for _, p := range pods {
		if err := checkContainer(p, o.Container); err != nil {
			return err
		}
	}
	return o.copy(ctx, m, pods)
}

// checkContainer says which containers there are when the one asked for is not.
func checkContainer(p api.Pod, name string) error {
	var names []string
	for _, c := range p.Containers {
		if name == "" || c.Name == name {
			return nil
		}
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		return nil // it is only starting
	}
	return exit.Failuref("pod %s has no container %q", p.Name, name).Try("meshctl logs %s -c %s", p.Name, strings.Join(names, "|"))
}

// copy shows all pods' output at once; lines stay whole.
func (o *Options) copy(ctx context.Context, m *env.Mesh, pods []api.Pod) error {
	what := client.LogOptions{Container: o.Container, Lines: o.Tail, Follow: o.Follow}
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, len(pods))
	for i, p := range pods {
		prefix := ""
		if o.Prefix || len(pods) > 1 {
			prefix = p.Name + " "
		}
		r, w := io.Pipe()
		wg.Go(func() { w.CloseWithError(m.Logs(ctx, p.Namespace, p.Name, what, w)) })
		wg.Go(func() { errs[i] = copyLines(o.Env.IO.Out, r, prefix, &mu) })
		if !o.Follow {
			wg.Wait() // one after the other, in order
		}
	}
	wg.Wait()
	if ctx.Err() != nil {
		return exit.Silent(exit.Interrupted)
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func copyLines(w io.Writer, r *io.PipeReader, prefix string, mu *sync.Mutex) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			mu.Lock()
			_, werr := io.WriteString(w, prefix+line)
			mu.Unlock()
			if werr != nil {
				r.CloseWithError(werr)
				return werr
			}
		}
		if err == io.EOF { //nolint:errorlint // ReadString returns it bare
			return nil
		}
		if err != nil {
			return err
		}
	}
}
