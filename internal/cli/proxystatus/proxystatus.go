// Package proxystatus is the command `meshctl proxy-status`.
package proxystatus

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Pod       string
	Verbosity int
	AdminPort int
	All       bool
	Format    stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats(stdio.Wide, stdio.Name, stdio.CSV)}
	cmd := &cobra.Command{
		Use:     "proxy-status [POD]",
		Aliases: []string{"ps"},
		Short:   "Show which proxies are connected and what they have acknowledged",
		Long: `Show the proxies that are connected to the control plane. -v 1 tells for each type
of configuration how far a proxy is:

  SYNCED    what was sent last is acknowledged
  STALE     something is sent or due, and not acknowledged yet
  ERROR     the proxy refused what was sent last; it goes on with what it had
  NOT SENT  there was nothing to send

With a pod, one proxy in detail: the reason of a refusal, and in what it differs from
what the control plane sends it.`,
		Example: `  meshctl proxy-status
  meshctl ps -v 1
  meshctl ps productpage-v1`,
		Args:              env.Args(0, 1),
		ValidArgsFunction: e.CompletePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.Pod = args[0]
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	cmd.Flags().IntVarP(&o.Verbosity, "verbosity", "v", 0, "1 shows each type of configuration in a column")
	cmd.Flags().IntVar(&o.AdminPort, "proxy-admin-port", 15000, "`port` of the proxy's admin interface")
	cmd.Flags().BoolVar(&o.All, "all", false, "of a pod, every field that differs, at its whole length")
	e.RevisionFlag(cmd)
	o.Format.AddFlag(cmd)
	return cmd
}

// proxy is a line of the list.
type proxy struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Cluster   string            `json:"cluster"`
	Istiod    string            `json:"istiod,omitempty"`
	Revision  string            `json:"revision,omitempty"` // of the control plane that it is connected to, or should be
	Connected bool              `json:"connected"`
	Session   *xdsserve.Session `json:"session,omitempty"`
	// Difference is set where one proxy is asked about.
	Difference *difference `json:"difference,omitempty"`
}

func (p proxy) fullName() string { return p.Name + "." + p.Namespace }

// Run does it.
func Run(ctx context.Context, o *Options) error {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return err
	}
	instances, err := m.API.Instances(ctx)
	if err != nil {
		return err
	}
	all, err := o.collect(ctx, m, instances)
	if err != nil {
		return err
	}
	if o.Pod == "" {
		return o.printList(all)
	}
	pod, err := o.Env.FindPod(ctx, m, o.Pod)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.Name != pod.Name || p.Namespace != pod.Namespace {
			continue
		}
		if !p.Connected {
			return exit.Failuref("the proxy of %s is not connected to the control plane", p.fullName()).
				Try("meshctl logs %s -c istio-proxy", p.fullName())
		}
		in := slices.IndexFunc(instances, func(i meshapi.Instance) bool { return i.Name == p.Istiod })
		var missing error
		if p.Difference, missing = o.compareWith(ctx, m, instances[in], pod); ctx.Err() != nil {
			return ctx.Err()
		}
		if missing != nil {
			o.Env.IO.Sayf("what the proxy has is not compared with what it is sent: %v\n", missing)
		}
		return o.printOne(p)
	}
	return exit.Failuref("pod %s has no proxy", pod.Name).Try("meshctl get pods -o wide")
}

// collect joins sessions with the pods that should have one.
func (o *Options) collect(ctx context.Context, m *env.Mesh, instances []meshapi.Instance) ([]proxy, error) {
	pods, err := m.PodsIn(ctx, "")
	if err != nil {
		return nil, err
	}
	var out []proxy
	seen := map[string]bool{}
	for _, i := range instances {
		if i.Problem != nil {
			o.Env.IO.Sayf("control plane %s does not answer, its proxies are missing here: %v\n", i.Name, i.Problem)
		}
		for _, s := range i.Sessions {
			p := proxy{Cluster: cmp.Or(s.ClusterID, i.Cluster), Istiod: i.Name, Revision: i.Revision, Connected: true, Session: &s}
			id, _ := mesh.ParseNodeID(s.Node)
			p.Name, p.Namespace = id.Pod()
			seen[p.fullName()] = true
			out = append(out, p)
		}
	}
	if slices.ContainsFunc(instances, func(i meshapi.Instance) bool { return i.Problem != nil }) {
		pods = nil // who is not in the list may be connected to one that did not answer
	}
	cluster := instances[0].Cluster
	for _, pod := range pods {
		p := proxy{Name: pod.Name, Namespace: pod.Namespace, Cluster: cluster, Revision: pod.Revision}
		if o.Env.Revision != "" && pod.Revision != o.Env.Revision {
			continue // another control plane's
		}
		if pod.Proxy != "none" && !seen[p.fullName()] && pod.Phase == "Running" {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b proxy) int { return strings.Compare(a.fullName(), b.fullName()) })
	return out, nil
}
