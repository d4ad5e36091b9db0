// Package experimental is the command `meshctl experimental`: commands of their own
// under the names by which people call them in istioctl, and a few that only show.
package experimental

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
)

// NewCmd makes the command; others are commands that have a place of their own.
func NewCmd(e *env.Env, others ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: "experimental", Aliases: []string{"x", "exp"},
		Short: "Commands under the names that istioctl has for them",
	}
	cmd.AddCommand(newInternalDebug(e), newStats(e))
	cmd.AddCommand(others...)
	return cmd
}

func newInternalDebug(e *env.Env) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use: "internal-debug PAGE", Short: "Print a debug page of the control plane",
		Example: `  meshctl x internal-debug list
  meshctl x internal-debug syncz
  meshctl x internal-debug 'config_dump?proxyID=productpage-v1-abc.default'`,
		Args: env.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return internalDebug(cmd.Context(), e, args[0], all)
		},
	}
	e.RevisionFlag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "of every process of it, not only the first")
	return cmd
}

func internalDebug(ctx context.Context, e *env.Env, page string, all bool) error {
	m, err := e.Mesh(ctx)
	if err != nil {
		return err
	}
	instances, err := m.API.Instances(ctx)
	if err != nil {
		return err
	}
	instances = slices.DeleteFunc(instances, func(i meshapi.Instance) bool { return i.Problem != nil })
	if len(instances) == 0 {
		return exit.Failuref("no control plane answers").Try("meshctl version")
	}
	if !all {
		instances = instances[:1]
	}
	for _, i := range instances {
		body, err := m.API.Page(ctx, i, "/debug/"+page)
		if err != nil {
			return exit.Failuref("control plane %s has no such page, or does not show it", i.Name).Because(err).Try("meshctl x internal-debug list")
		}
		if all {
			e.IO.Sayf("%s:\n", i.Name)
		}
		if _, err := e.IO.Out.Write(append(bytes.TrimRight(body, "\n"), '\n')); err != nil {
			return err
		}
	}
	return nil
}

func newStats(e *env.Env) *cobra.Command {
	format, port := "short", 15000
	cmd := &cobra.Command{
		Use: "envoy-stats POD", Aliases: []string{"es"}, Short: "Print the statistics of a pod's proxy",
		Example: `  meshctl x envoy-stats productpage-v1
  meshctl x es productpage-v1 -o prom`,
		Args: env.Args(1, 1), ValidArgsFunction: e.CompletePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, ok := map[string]string{"short": "/stats", "json": "/stats?format=json", "prom": "/stats/prometheus"}[format]
			if !ok {
				return exit.Usagef("-o %q is not short, json or prom", format)
			}
			return stats(cmd.Context(), e, args[0], path, port)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", format, "short, json or prom")
	cmd.Flags().IntVar(&port, "proxy-admin-port", port, "`port` of the proxy's admin interface")
	return cmd
}

func stats(ctx context.Context, e *env.Env, pod, path string, port int) error {
	m, err := e.Mesh(ctx)
	if err != nil {
		return err
	}
	p, err := e.FindPod(ctx, m, pod)
	if err != nil {
		return err
	}
	if p.Proxy == "none" {
		return exit.Failuref("pod %s.%s has no proxy", p.Name, p.Namespace).Try("meshctl get pods -o wide")
	}
	body, err := m.AskProxy(ctx, p, port, http.MethodGet, path)
	if err != nil {
		return err
	}
	if _, err = e.IO.Out.Write(body); err != nil {
		return fmt.Errorf("print statistics: %w", err)
	}
	return nil
}
