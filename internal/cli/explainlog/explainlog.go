// Package explainlog is the command `meshctl explain-log`: what a line of an access
// log, a response flag or a response code detail means.
package explainlog

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/logline"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Options of the command.
type Options struct {
	Env *env.Env
	env.WorldFlags

	Words  []string
	Logs   []string
	All    bool
	Format stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "explain-log [LINE|FLAG|DETAIL...]",
		Short: "Say what a line of an access log, or a response flag, means",
		Long: `Say what a line of an access log means: what became of the request, why that usually
is, and what to do next. Lines may be Istio's default text or JSON, with or without
what a log tool put before them; a response flag (UF, UpstreamOverflow) or a response
code detail alone will do as well. With a mesh that runs, or files, the configuration
that decided is named with its place.

Of a file or standard input, lines that report a failure are explained, those that
are alike once.`,
		Example: `  meshctl explain-log UF,URX
  meshctl explain-log 'rbac_access_denied_matched_policy[ns[default]-policy[deny-all]-rule[0]]'
  meshctl logs productpage-v1 -c istio-proxy | meshctl explain-log
  meshctl explain-log -f access.log --files manifests/ --use-kube=false`,
		Args: env.Args(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Words = args
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.Logs, "filename", "f", nil, "`file` of lines, or - for standard input; may be repeated")
	f.BoolVar(&o.All, "all", false, "explain lines of requests that went well, too")
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	return cmd
}

// Item is one thing that was asked about.
type Item struct {
	Input string         `json:"input"`
	Count int            `json:"count"` // lines that are alike
	Entry *logline.Entry `json:"entry,omitempty"`
	logline.Explanation
	Decided []*whatif.Decision `json:"decidedBy,omitempty"`
	// OneOf: the log does not tell which of several rules it was.
	OneOf bool `json:"oneOf,omitempty"`
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	items, err := o.items()
	if err != nil {
		return err
	}
	w, err := o.world(ctx)
	if err != nil {
		return err
	}
	for _, it := range items {
		it.decide(ctx, w)
	}
	if o.Format.IsStructured() {
		return o.Env.IO.Print(o.Format, stdio.Document{Kind: "ExplanationList", Items: items})
	}
	for i, it := range items {
		if i > 0 {
			o.Env.IO.Printf("\n")
		}
		o.tell(it)
	}
	return nil
}

// items reads what was asked about.
func (o *Options) items() ([]*Item, error) {
	var out []*Item
	for _, w := range o.Words {
		if e, ok := logline.Parse(w); ok {
			out = append(out, &Item{Input: w, Count: 1, Entry: &e, Explanation: logline.Explain(e)})
			continue
		}
		x, err := words(w)
		if err != nil {
			return nil, err
		}
		out = append(out, x...)
	}
	logs := o.Logs
	if len(o.Words)+len(logs) == 0 {
		logs = []string{"-"}
	}
	found, err := o.lines(logs)
	if err != nil {
		return nil, err
	}
	return append(out, found...), nil
}

// words are flags, separated by commas, or one detail.
func words(s string) ([]*Item, error) {
	if x, ok := logline.ExplainWord(s); ok {
		return []*Item{{Input: s, Count: 1, Explanation: x}}, nil
	}
	var out []*Item
	for part := range strings.SplitSeq(s, ",") {
		x, ok := logline.ExplainWord(strings.TrimSpace(part))
		if !ok {
			var names []string
			for _, f := range logline.Flags() {
				names = append(names, f.Name)
			}
			return nil, exit.Dataf("%q is neither a line of an access log, nor a response flag, nor a response code detail", s).
				Because(fmt.Errorf("flags are %s", strings.Join(names, ", "))).Try("meshctl explain-log -f FILE, for a file of lines")
		}
		out = append(out, &Item{Input: part, Count: 1, Explanation: x})
	}
	return out, nil
}

// lines reads files; what is alike is one item.
func (o *Options) lines(logs []string) ([]*Item, error) {
	if len(logs) == 0 {
		return nil, nil
	}
	files, err := o.Env.ReadFiles(logs, false)
	if err != nil {
		return nil, err
	}
	var out []*Item
	at := map[string]*Item{}
	read, well := 0, 0
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
		for _, e := range entries {
			read++
			if e.Code < 400 && len(e.Flags) == 0 && e.ConnectionEnd == "" && !o.All && len(entries) > 1 {
				well++
				continue
			}
			key := fmt.Sprint(e.Code, e.Flags, e.Details, e.ConnectionEnd, e.TransportFailure, e.UpstreamCluster, e.RouteName, e.Method, e.Authority)
			if it := at[key]; it != nil {
				it.Count++
				continue
			}
			at[key] = &Item{Input: fmt.Sprintf("%s:%d", f.Name, e.Line), Count: 1, Entry: &e, Explanation: logline.Explain(e)}
			out = append(out, at[key])
		}
	}
	if well > 0 {
		o.Env.IO.Sayf("%d of %d requests went well\n", well, read)
	}
	slices.SortStableFunc(out, func(a, b *Item) int { return b.Count - a.Count })
	return out, nil
}

// world is the mesh that the lines may be about; nil when there is none.
func (o *Options) world(ctx context.Context) (*whatif.World, error) {
	if len(o.Paths) == 0 {
		if !o.UseMesh {
			return nil, nil //nolint:nilnil // no mesh is an answer
		}
		if _, err := o.Env.Mesh(ctx); err != nil && o.Env.Settings.Context == "" {
			return nil, nil //nolint:nilnil,nilerr // the meaning of a line needs no mesh
		}
	}
	w, err := o.Env.World(ctx, o.WorldFlags)
	if err != nil && len(o.Paths) == 0 && o.Env.Settings.Context == "" {
		o.Env.IO.Sayf("which configuration decided is not known: %v\n", err)
		return nil, nil //nolint:nilnil // said
	}
	return w, err
}

func (o *Options) tell(it *Item) {
	io := o.Env.IO
	head := it.What
	if it.Entry != nil {
		if it.Count > 1 {
			head = fmt.Sprintf("%s, and %d times alike", head, it.Count-1)
		}
		io.Printf("%s\n", io.OutPaint(stdio.Bold, head))
	}
	for i, m := range it.Says {
		if slices.ContainsFunc(it.Says[:i], func(x logline.Meaning) bool { return x.What == m.What }) {
			continue // the flag says what the details said
		}
		label := m.Name
		if m.Long != "" {
			label += " (" + m.Long + ")"
		}
		io.Printf("  %s: %s\n", io.OutPaint(stdio.Yellow, label), m.What)
	}
	list := func(title string, lines []string) {
		if len(lines) > 0 {
			io.Printf("%s\n", title)
		}
		for _, l := range lines {
			io.Printf("  %s\n", l)
		}
	}
	var deciders []string
	for _, d := range it.Decided {
		deciders = append(deciders, d.String())
	}
	title := "decided by"
	if it.OneOf {
		title = "decided by one of these rules: which, depends on what the log does not show"
	}
	list(title, deciders)
	var causes []string
	for i, c := range it.Causes {
		causes = append(causes, fmt.Sprintf("%d. %s", i+1, c))
	}
	list("likely causes", causes)
	list("next", it.Next)
}
