// Package troubleshoot is the command `meshctl troubleshoot`.
package troubleshoot

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/inspection"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/inspect"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Options of the command.
type Options struct {
	Env *env.Env
	env.WorldFlags

	Question inspect.Question
	Headers  []string
	Probe    bool
	Format   stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "troubleshoot FROM TO[:PORT][/PATH]",
		Short: "Find what stops a request from one workload to another, step by step",
		Long: `Follow a request from a workload to a service, step by step, and end at the first
thing that stops it: do both exist, are pods ready, have they sidecars, may the
caller see the service, which route decides, has its subset pods, do both ends agree
on mutual TLS, do the policies allow it, is the port's protocol right, do the
proxies take their configuration. The cause is said in one sentence, with the object
and line, and the next step.

With a mesh that runs it looks at the proxies too, whether they are in sync and
their certificates valid, and at the end sends the request from the caller's pod.
Without one, files are enough. TO may be a URL, FROM a gateway.

The exit code is 0 when nothing stops the request, and 1 when something does.`,
		Example: `  meshctl troubleshoot productpage-v1 reviews
  meshctl troubleshoot productpage-v1 reviews:9080/reviews/1
  meshctl troubleshoot istio-ingressgateway.istio-system http://bookinfo.example/productpage
  meshctl troubleshoot sleep ratings --use-kube=false --files manifests/`,
		Args: env.Args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Question.From, o.Question.To = args[0], args[1]
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Question.Method, "method", "X", "GET", "method of the request")
	f.StringArrayVarP(&o.Headers, "header", "H", nil, "`NAME: VALUE` of a header; may be repeated")
	f.BoolVar(&o.Probe, "probe", true, "send the request from the caller's pod, when nothing else stops it")
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	cmd.ValidArgsFunction = e.CompletePods
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	for _, h := range o.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return exit.Usagef("%q is not NAME: VALUE", h)
		}
		o.Question.Headers = append(o.Question.Headers, whatif.Header{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	o.About = []string{o.Question.From}
	w, findings, err := inspection.Load(ctx, o.Env, o.WorldFlags)
	if err != nil {
		return err
	}
	o.Question.Namespace = o.Env.Namespace()
	d, err := inspect.New(w, findings).Troubleshoot(ctx, o.Question)
	if err != nil {
		return exit.Usagef("%v", err).Try("meshctl troubleshoot --help")
	}
	if w.Running() && o.UseMesh && d.Caller.Object != nil {
		if err := o.look(ctx, d); err != nil {
			return err
		}
	}
	if o.Format.IsStructured() {
		err = o.Env.IO.Print(o.Format, stdio.Document{Kind: "Diagnosis", Items: d})
	} else {
		o.print(d)
	}
	if err == nil && d.Cause != "" {
		return exit.Silent(exit.Failure)
	}
	return err
}

func (o *Options) print(d *inspect.Diagnosis) {
	io := o.Env.IO
	io.Printf("%s → %s %s\n\n", io.OutPaint(stdio.Bold, d.From), d.Method, io.OutPaint(stdio.Bold, d.URL))
	width := 0
	for _, c := range d.Checks {
		width = max(width, utf8.RuneCountInString(c.Name))
	}
	indent := strings.Repeat(" ", width+4)
	for _, c := range d.Checks {
		mark := map[inspect.State]string{
			inspect.Passed: io.OutPaint(stdio.Green, "✓"), inspect.Failed: io.OutPaint(stdio.Red, "✖"), inspect.Odd: io.OutPaint(stdio.Yellow, "!"),
		}[c.State]
		io.Printf("%s %s%s  %s\n", mark, c.Name, strings.Repeat(" ", width-utf8.RuneCountInString(c.Name)), c.What)
		if c.Decided != nil {
			io.Printf("%s%s\n", indent, io.OutPaint(stdio.Dim, c.Decided.String()))
		}
		for _, n := range c.Near {
			io.Printf("%snot %s: %s\n", indent, n.What, n.Reason)
		}
	}
	io.Printf("\n")
	if d.Cause == "" {
		io.Printf("%s nothing stops the request\n", io.OutPaint(stdio.Green, "✓"))
		return
	}
	what := "the request fails: "
	if d.Stopped < 100 {
		what = fmt.Sprintf("%.4g%% of the requests fail: ", d.Stopped)
	}
	io.Printf("%s %s%s\n", io.OutPaint(stdio.Red, "✖"), what, io.OutPaint(stdio.Bold, d.Cause))
	for i, next := range d.Checks[len(d.Checks)-1].Next {
		label := "  try: "
		if i > 0 {
			label = "       "
		}
		io.Printf("%s%s\n", label, next)
	}
}
