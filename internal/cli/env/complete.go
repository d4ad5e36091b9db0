package env

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/settings"
)

// completionPatience bounds a key press in a shell.
const completionPatience = 2 * time.Second

// completing opens the mesh for a completion; errors are no business of a shell.
func (e *Env) completing(cmd *cobra.Command, use func(context.Context, *Mesh)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), completionPatience)
	defer cancel()
	s, err := settings.Load(cmd.Flags(), settings.System())
	if err != nil {
		return
	}
	e.Settings = s
	if m, err := e.Mesh(ctx); err == nil {
		use(ctx, m)
	}
}

// CompletePods completes names of pods and workloads.
func (e *Env) CompletePods(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	e.completing(cmd, func(ctx context.Context, m *Mesh) {
		pods, err := m.PodsIn(ctx, "")
		if err != nil {
			return
		}
		for _, p := range pods {
			name := p.Name
			if p.Namespace != e.Namespace() {
				name += "." + p.Namespace
			}
			out = append(out, cobra.CompletionWithDesc(name, p.Workload))
		}
	})
	return out, cobra.ShellCompDirectiveNoFileComp
}

// CompleteObjects completes names of objects of a kind.
func (e *Env) CompleteObjects(cmd *cobra.Command, info *resource.KindInfo) []cobra.Completion {
	var out []cobra.Completion
	e.completing(cmd, func(ctx context.Context, m *Mesh) {
		namespace := ""
		if info.Namespaced {
			namespace = e.Namespace()
		}
		objects, err := m.API.Objects(ctx, info.Kind.Group, info.Kind.Kind, namespace, "")
		if err != nil {
			return
		}
		for _, o := range objects {
			out = append(out, o.Name)
		}
	})
	return out
}

// CompleteNamespaces completes namespaces that have pods or objects.
func (e *Env) CompleteNamespaces(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	e.completing(cmd, func(ctx context.Context, m *Mesh) {
		objects, err := m.API.Objects(ctx, "", "", "", "")
		if err != nil {
			return
		}
		for _, o := range objects {
			if o.Namespace != "" && !slices.Contains(out, o.Namespace) {
				out = append(out, o.Namespace)
			}
		}
		slices.Sort(out)
	})
	return out, cobra.ShellCompDirectiveNoFileComp
}

// CompleteContexts completes meshes of this machine and kubeconfig contexts.
func (e *Env) CompleteContexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	out := []cobra.Completion{"local"}
	if names, err := local.List(); err == nil {
		for _, n := range names {
			out = append(out, "local:"+n)
		}
	}
	if kube, err := e.kubeContexts(); err == nil {
		out = append(out, kube.Names...)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// CompleteMeshes completes names of meshes on this machine.
func CompleteMeshes(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, err := local.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
