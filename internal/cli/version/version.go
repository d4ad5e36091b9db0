// Package version is the command `meshctl version`.
package version

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	build "github.com/meshctl/meshctl/internal/version"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Remote bool
	Format stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats("short")}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of client, control plane and proxies",
		Example: `  meshctl version
  meshctl version --remote=false
  meshctl version -o json`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	e.RevisionFlag(cmd)
	cmd.Flags().BoolVar(&o.Remote, "remote", true, "ask the mesh, too")
	o.Format.AddFlag(cmd)
	return cmd
}

// versions is the JSON document.
type versions struct {
	Client       component   `json:"clientVersion"`
	ControlPlane []component `json:"meshVersion,omitempty"`
	DataPlane    []count     `json:"dataPlaneVersion,omitempty"`
	Skew         []string    `json:"skew,omitempty"` // what does not fit together
}

type component struct {
	Name     string `json:"component"`
	Revision string `json:"revision,omitempty"`
	Version  string `json:"version"`
	API      string `json:"istioAPI,omitempty"`
}

// count is the proxies of a version that are connected to a revision.
type count struct {
	Revision string `json:"revision,omitempty"`
	Version  string `json:"version"`
	Proxies  int    `json:"proxies"`
}

// Run does it. That there is no mesh is no error here.
func Run(ctx context.Context, o *Options) error {
	v := versions{Client: component{Name: "meshctl", Version: build.Get(), API: build.APIVersion}}
	note := ""
	if o.Remote {
		if err := v.ask(ctx, o.Env); err != nil {
			note = strings.SplitN(err.Error(), "\n", 2)[0]
		}
	}
	if o.Format.IsStructured() {
		return o.Env.IO.Print(o.Format, stdio.Document{Value: v})
	}
	io := o.Env.IO
	io.Printf("client version: %s (Istio API %s)\n", v.Client.Version, v.Client.API)
	for _, line := range v.controlPlanes() {
		io.Printf("%s\n", line)
	}
	for _, line := range v.dataPlanes() {
		io.Printf("%s\n", line)
	}
	for _, s := range v.Skew {
		io.Printf("%s\n", io.OutPaint(stdio.Yellow, "skew: "+s))
	}
	if note != "" {
		io.Sayf("%s\n", note)
	}
	return nil
}

// head is what a line about a revision begins with: its name, which is left out where
// there is only the default one.
func (v *versions) head(revision string) string {
	several := slices.ContainsFunc(v.ControlPlane, func(c component) bool { return c.Revision != v.ControlPlane[0].Revision })
	if several || revision != "" && revision != "default" {
		return revision + " "
	}
	return ""
}

// controlPlanes is a line for each revision and version.
func (v *versions) controlPlanes() []string {
	var out []string
	for _, c := range v.ControlPlane {
		line := v.head(c.Revision) + "control plane version: " + cmp.Or(c.Version, "it does not answer")
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

// dataPlanes is a line for each revision, with the versions of the proxies that are
// connected to it.
func (v *versions) dataPlanes() []string {
	var out []string
	last := ""
	for i, d := range v.DataPlane {
		word := "proxies"
		if d.Proxies == 1 {
			word = "proxy"
		}
		text := fmt.Sprintf("%s (%d %s)", d.Version, d.Proxies, word)
		if i > 0 && d.Revision == last {
			out[len(out)-1] += ", " + text
		} else {
			out = append(out, v.head(d.Revision)+"data plane version: "+text)
		}
		last = d.Revision
	}
	return out
}

// ask adds what the mesh says.
func (v *versions) ask(ctx context.Context, e *env.Env) error {
	m, err := e.Mesh(ctx)
	if err != nil {
		return err
	}
	instances, err := m.API.Instances(ctx)
	if err != nil {
		return err
	}
	counts := map[count]int{}
	for _, i := range instances {
		v.ControlPlane = append(v.ControlPlane, component{Name: cmp.Or(i.Name, "istiod"), Revision: i.Revision, Version: i.Version, API: i.APIVersion})
		if i.Problem != nil {
			e.IO.Sayf("control plane %s does not answer: %v\n", i.Name, i.Problem)
		}
		for _, s := range i.Sessions {
			counts[count{Revision: i.Revision, Version: cmp.Or(s.Version, "unknown")}]++
		}
	}
	slices.SortStableFunc(v.ControlPlane, func(a, b component) int { return cmp.Compare(a.Revision, b.Revision) })
	for c, n := range counts {
		c.Proxies = n
		v.DataPlane = append(v.DataPlane, c)
	}
	slices.SortFunc(v.DataPlane, func(a, b count) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Version, b.Version))
	})
	v.Skew = skew(v.ControlPlane, v.DataPlane)
	return nil
}

// oldest is how many minor versions a proxy may be behind its control plane.
const oldest = 2

// skew says which proxies are too old or too new for the control plane that they are
// connected to, which is what sends them configuration. Versions that are no numbers,
// such as those of a build from source, fit anything.
func skew(control []component, data []count) []string {
	var out []string
	several := slices.ContainsFunc(control, func(c component) bool { return c.Revision != control[0].Revision })
	for _, d := range data {
		low, high := -1, -1 // of the processes of its revision
		for _, c := range control {
			if m, ok := minor(c.Version); ok && c.Revision == d.Revision {
				if low < 0 || m < low {
					low = m
				}
				high = max(high, m)
			}
		}
		plane := "the control plane"
		if several {
			plane = "control plane " + d.Revision
		}
		m, ok := minor(d.Version)
		switch {
		case !ok || high < 0:
		case m > high:
			out = append(out, fmt.Sprintf("proxies of %s are newer than %s: upgrade it first", d.Version, plane))
		case m < low-oldest:
			out = append(out, fmt.Sprintf("proxies of %s are more than %d minor versions behind %s: restart their pods (meshctl restart --outdated)", d.Version, oldest, plane))
		}
	}
	return out
}

// minor is the minor version of 1.x; versions of another major are not compared.
func minor(version string) (int, bool) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 || parts[0] != "1" {
		return 0, false
	}
	m, err := strconv.Atoi(parts[1])
	return m, err == nil
}
