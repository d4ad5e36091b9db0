// Package version is the command `meshctl version`.
package version

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
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
	cmd.Flags().BoolVar(&o.Remote, "remote", true, "ask the mesh, too")
	o.Format.AddFlag(cmd)
	return cmd
}

// versions is the JSON document.
type versions struct {
	Client       component   `json:"clientVersion"`
	ControlPlane []component `json:"meshVersion,omitempty"`
	DataPlane    []count     `json:"dataPlaneVersion,omitempty"`
}

type component struct {
	Name    string `json:"component"`
	Version string `json:"version"`
	API     string `json:"istioAPI,omitempty"`
}

type count struct {
	Version string `json:"version"`
	Proxies int    `json:"proxies"`
}

// Run does it. That there is no mesh is no error here.
func Run(ctx context.Context, o *Options) error {
	v := versions{Client: component{"meshctl", build.Get(), build.APIVersion}}
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
	for _, c := range v.ControlPlane {
		io.Printf("control plane version: %s\n", c.Version)
	}
	var planes []string
	for _, d := range v.DataPlane {
		word := "proxies"
		if d.Proxies == 1 {
			word = "proxy"
		}
		planes = append(planes, fmt.Sprintf("%s (%d %s)", d.Version, d.Proxies, word))
	}
	if len(planes) > 0 {
		io.Printf("data plane version: %s\n", strings.Join(planes, ", "))
	}
	if note != "" {
		io.Sayf("%s\n", note)
	}
	return nil
}

// ask adds what the mesh says.
func (v *versions) ask(ctx context.Context, e *env.Env) error {
	m, err := e.Mesh(ctx)
	if err != nil {
		return err
	}
	info, err := m.API.Info(ctx)
	if err != nil {
		return err
	}
	v.ControlPlane = []component{{cmp.Or(info.Instance, "istiod"), info.Version, info.APIVersion}}
	sessions, err := m.API.Sessions(ctx)
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for _, s := range sessions {
		counts[cmp.Or(s.Version, "unknown")]++
	}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		v.DataPlane = append(v.DataPlane, count{name, counts[name]})
	}
	return nil
}
