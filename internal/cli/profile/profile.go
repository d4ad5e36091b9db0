// Package profile is the commands `meshctl profile list|show|diff|explain`.
package profile

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/charts"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/installopts"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/install"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/profiles"
)

// NewCmd makes the command with its children.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profile COMMAND",
		Short: "Look at the profiles of installation, and at every knob",
		Example: `  meshctl profile list
  meshctl profile show demo
  meshctl profile diff default demo
  meshctl profile explain values.pilot`,
	}
	cmd.AddCommand(newList(e), newShow(e), newDiff(e), newExplain(e))
	return cmd
}

func completeProfiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return profiles.Names(), cobra.ShellCompDirectiveNoFileComp
}

// entry is a profile in a list.
type entry struct {
	Name       string   `json:"name"`
	Purpose    string   `json:"purpose"`
	Components []string `json:"components"`
}

func newList(e *env.Env) *cobra.Command {
	format := stdio.Formats(stdio.Name)
	cmd := &cobra.Command{
		Use: "list", Short: "List the profiles", Args: env.Args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			var all []entry
			for _, name := range profiles.Names() {
				c, err := resolve(e, name)
				if err != nil {
					return err
				}
				components, err := c.Components()
				if err != nil {
					return err
				}
				text, _ := profiles.Read(name)
				p := entry{Name: name, Purpose: purpose(string(text)), Components: []string{}}
				for _, each := range components {
					p.Components = append(p.Components, each.Name)
				}
				all = append(all, p)
			}
			return e.IO.Print(format, stdio.Document{
				Kind: "ProfileList", Items: all,
				Names: func() []string {
					var out []string
					for _, p := range all {
						out = append(out, p.Name)
					}
					return out
				},
				Table: func() stdio.Table {
					t := stdio.Table{Columns: []string{"NAME", "COMPONENTS", "PURPOSE"}}
					for _, p := range all {
						t.Add(p.Name, cmp.Or(strings.Join(p.Components, ","), "-"), p.Purpose)
					}
					return t
				},
			})
		},
	}
	format.AddFlag(cmd)
	return cmd
}

// purpose is the first sentence of a profile's comment.
func purpose(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		comment, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		out = append(out, strings.TrimSpace(comment))
	}
	sentence, _, _ := strings.Cut(strings.Join(out, " ")+" ", ". ")
	return strings.TrimSuffix(strings.TrimSpace(sentence), ".")
}

func resolve(e *env.Env, name string) (*install.Config, error) {
	c, _, err := install.Resolve(install.Input{Profile: name, Tag: installopts.ImageTag()})
	if err != nil {
		return nil, installopts.Explain(e, err)
	}
	return c, nil
}

func newShow(e *env.Env) *cobra.Command {
	var flags installopts.Flags
	var origins bool
	cmd := &cobra.Command{
		Use:     "show [PROFILE]",
		Aliases: []string{"dump"},
		Short:   "Show what a profile sets, all told",
		Long: `Show what a profile sets: with what it is laid over, and with files and --set over
it. What no profile sets has the charts' own value: see profile explain.`,
		Example: `  meshctl profile show demo
  meshctl profile show demo --set values.pilot.autoscaleMin=2 --origin`,
		Args: env.Args(0, 1), ValidArgsFunction: completeProfiles,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				if flags.Profile != "" && flags.Profile != args[0] {
					return exit.Usagef("two profiles are named: %s and %s", args[0], flags.Profile)
				}
				flags.Profile = args[0]
			}
			c, err := flags.Resolve(e)
			if err != nil {
				return err
			}
			if origins {
				t := stdio.Table{Columns: []string{"KEY", "VALUE", "ORIGIN"}}
				for _, s := range c.Settings() {
					t.Add(s.Path, s.Value, s.Origin)
				}
				return e.IO.Print(stdio.Formats(), stdio.Document{Table: func() stdio.Table { return t }})
			}
			text, err := c.YAML()
			if err != nil {
				return err
			}
			_, err = e.IO.Out.Write(text)
			return err
		},
	}
	flags.Add(cmd, e)
	cmd.Flags().BoolVar(&origins, "origin", false, "list every value with the place it is from")
	return cmd
}

func newDiff(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "diff PROFILE PROFILE",
		Short: "Compare two profiles",
		Long:  "Compare what two profiles set, all told. The exit code is 1 when they differ.",
		Args:  env.Args(2, 2), ValidArgsFunction: completeProfiles,
		RunE: func(_ *cobra.Command, args []string) error {
			var texts [2][]byte
			for i, name := range args {
				c, err := resolve(e, name)
				if err != nil {
					return err
				}
				delete(c.Spec, "profile")
				if texts[i], err = yaml.Marshal(c.Spec); err != nil {
					return fmt.Errorf("print profile %s: %w", name, err)
				}
			}
			text := diff.Diff(args[0], texts[0], args[1], texts[1])
			if len(text) == 0 {
				return nil
			}
			e.IO.Printf("%s", text)
			return exit.Silent(exit.Failure)
		},
	}
}

func newExplain(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [KEY]",
		Short: "Say what a key does, what it is by default, and what is below it",
		Example: `  meshctl profile explain
  meshctl profile explain values.pilot
  meshctl profile explain components.pilot.k8s`,
		Args: env.Args(0, 1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return completeKeys(args, typed)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return explain(cmd.Context(), e, strings.Join(args, ""))
		},
	}
}

func completeKeys(args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	root, err := install.Knobs(charts.Files)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	at := root
	if i := strings.LastIndexByte(typed, '.'); i > 0 {
		if k, _, _, err := root.Find(typed[:i]); err == nil && k != nil {
			at = k
		}
	}
	var out []cobra.Completion
	for _, k := range at.Children() {
		out = append(out, cobra.CompletionWithDesc(k.Path, k.Comment))
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func explain(_ context.Context, e *env.Env, key string) error {
	k, err := install.Knobs(charts.Files)
	if err != nil {
		return err
	}
	if key = strings.TrimPrefix(strings.TrimPrefix(key, "spec"), "."); key != "" {
		found, at, instead, err := k.Find(key)
		if err != nil {
			return exit.Usagef("%v", err)
		}
		if found == nil {
			x := exit.Usagef("there is no key %q", key)
			rest := strings.TrimPrefix(strings.TrimPrefix(key, at), ".")
			first, _, _ := strings.Cut(rest, ".")
			if near := resource.Nearest(first, instead); near != "" {
				return x.Try("did you mean %s?", strings.TrimPrefix(at+"."+near, "."))
			}
			return x.Because(fmt.Errorf("%s has %s", cmp.Or(at, "spec"), strings.Join(instead, ", ")))
		}
		k = found
	}
	if k.Path != "" {
		e.IO.Printf("%s\n", e.IO.OutPaint(stdio.Bold, k.Path))
	}
	if k.Comment != "" {
		e.IO.Printf("  %s\n", k.Comment)
	}
	if k.Default != nil {
		e.IO.Printf("  default: %s\n", install.Text(k.Default))
	}
	if k.Open {
		e.IO.Printf("  takes any key below\n")
	}
	if len(k.Children()) == 0 {
		return nil
	}
	if k.Path != "" {
		e.IO.Printf("\n")
	}
	t := stdio.Table{Columns: []string{"KEY", "DEFAULT", "WHAT IT DOES"}}
	for _, c := range k.Children() {
		value := install.Text(c.Default)
		if len(c.Children()) > 0 || c.Open {
			value = "…"
		}
		t.Add(c.Path, value, c.Comment)
	}
	return e.IO.Print(stdio.Formats(), stdio.Document{Table: func() stdio.Table { return t }})
}
