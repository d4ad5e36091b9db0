// Package explain is the command `meshctl explain`: what a code means, offline.
package explain

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/docs/diagnostics"
	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/resource"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Codes  []string
	Format stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "explain [CODE...]",
		Short: "Say what the code of a finding means, what it does to traffic, and how to fix it",
		Long: `Say what the code of a finding means, what traffic does, an example that raises it
and one that does not. Everything is in the program: no network is needed. Without a
code, all are listed.`,
		Example: `  meshctl explain IST0101
  meshctl explain                # all codes
  meshctl explain | grep Gateway`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Codes = args
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var out []cobra.Completion
			for _, p := range diagnostics.All() {
				out = append(out, cobra.CompletionWithDesc(p.Code, p.Name))
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
	}
	o.Format.AddFlag(cmd)
	return cmd
}

// page is what is known of a code, in JSON.
type page struct {
	Code      string   `json:"code"`
	Name      string   `json:"name"`
	Levels    []string `json:"levels"`
	Summary   string   `json:"summary"`
	Analyzers []string `json:"analyzers,omitempty"`
	URL       string   `json:"documentationUrl"`
	Example   string   `json:"example,omitempty"`
	Fixed     string   `json:"fixed,omitempty"`
	Text      string   `json:"text,omitempty"`
}

// Run does it.
func Run(_ context.Context, o *Options) error {
	var pages []page
	for _, code := range o.Codes {
		p, err := find(code)
		if err != nil {
			return err
		}
		pages = append(pages, pageOf(p))
	}
	if len(o.Codes) == 0 {
		for _, p := range diagnostics.All() {
			one := pageOf(p)
			one.Text, one.Example, one.Fixed = "", "", ""
			pages = append(pages, one)
		}
	}
	if o.Format.IsStructured() || len(o.Codes) == 0 {
		return o.Env.IO.Print(o.Format, stdio.Document{Kind: "DiagnosticList", Items: pages, Table: func() stdio.Table { return table(pages) }})
	}
	for i, p := range pages {
		if i > 0 {
			o.Env.IO.Printf("\n")
		}
		o.Env.IO.Printf("%s", p.Text)
		if len(p.Analyzers) > 0 {
			o.Env.IO.Printf("\nFound by: %s\n", strings.Join(p.Analyzers, ", "))
		}
	}
	return nil
}

// find looks a code up: as it is, or by its name.
func find(code string) (diagnostics.Page, error) {
	if p, ok := diagnostics.Lookup(code); ok {
		return p, nil
	}
	var codes, names []string
	for _, p := range diagnostics.All() {
		if strings.EqualFold(p.Name, code) {
			return p, nil
		}
		codes, names = append(codes, p.Code), append(names, p.Name)
	}
	if why, ok := unused(strings.ToUpper(code)); ok {
		return diagnostics.Page{}, exit.Usagef("%s is raised by nothing, here as in Istio: %s", strings.ToUpper(code), why).Try("meshctl explain, to list those that are")
	}
	e := exit.Usagef("there is no code %q", code)
	if near := resource.Nearest(strings.ToUpper(code), codes); near != "" {
		e = e.Try("did you mean: meshctl explain %s", near)
	} else if near := resource.Nearest(code, names); near != "" {
		e = e.Try("did you mean: meshctl explain %s", near)
	}
	return diagnostics.Page{}, e.Try("meshctl explain, to list all")
}

func pageOf(p diagnostics.Page) page {
	return page{
		Code: p.Code, Name: p.Name, Levels: p.Levels, Summary: p.Summary, Analyzers: analyzers(p.Code),
		URL: diagnostics.URL(p.Code), Example: p.Example, Fixed: p.Fixed, Text: p.Text,
	}
}

// analyzers are those that raise a code; the many that validate one kind each are
// said as one.
func analyzers(code string) []string {
	var out []string
	for _, a := range analyze.Analyzers() {
		if !slices.Contains(a.Codes, code) {
			continue
		}
		name := a.Name
		if strings.HasPrefix(name, "schema.ValidationAnalyzer.") && code != resource.CodeUnreachableRule && code != resource.CodeIneffectiveMatch {
			name = "schema.ValidationAnalyzer"
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func table(pages []page) stdio.Table {
	t := stdio.Table{Columns: []string{"CODE", "LEVEL", "NAME", "MEANING"}}
	for _, p := range pages {
		t.Add(p.Code, strings.Join(p.Levels, ","), p.Name, p.Summary)
	}
	return t
}

// unused says of codes that Istio lists and nothing raises why it is so.
func unused(code string) (why string, ok bool) {
	number, ok := strings.CutPrefix(code, "IST")
	if !ok {
		return "", false
	}
	switch number {
	case "0143":
		return "LocalhostListener, which was about ports that only their own pod can reach", true
	case "0168":
		return "UnknownUpgradeCompatibility", true
	case "0104", "0105", "0113", "0114", "0115", "0117", "0119", "0120", "0121", "0122", "0124":
		return "its number was given up, and is not used again", true
	}
	return "", false
}
