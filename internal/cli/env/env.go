// Package env is what every command is given: streams, settings, and the mesh
// that the user means. Main makes one Env; nothing in it is global.
//
//	m, err := e.Mesh(ctx)      // the running mesh of --context
//	pods, err := m.Pods(ctx)
package env

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/settings"
)

// DefaultNamespace is that of objects which name none.
const DefaultNamespace = "default"

// Env is the surroundings of a command. Settings are filled before a command runs.
type Env struct {
	IO       *stdio.Streams
	Settings settings.Settings
	Getenv   func(string) string
	Now      func() time.Time
}

// Namespace is the one to use when an argument names none.
func (e *Env) Namespace() string { return cmp.Or(e.Settings.Namespace, DefaultNamespace) }

// Mesh is a running local mesh.
type Mesh struct {
	*local.Mesh
	Name string
	API  *meshapi.Client
}

// Mesh finds the running mesh that the user means: --context, else
// MESHCTL_CONTEXT, else the mesh that runs here, else what kubeconfig names.
func (e *Env) Mesh(ctx context.Context) (*Mesh, error) {
	if want := e.Settings.Context; want != "" {
		return e.named(ctx, want)
	}
	running, err := Running(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case slices.Contains(running, local.DefaultName):
		return Open(ctx, local.DefaultName)
	case len(running) == 1:
		return Open(ctx, running[0])
	case len(running) > 1:
		return nil, exit.Usagef("several meshes run here: %s", strings.Join(running, ", ")).
			Try("meshctl --context local:%s …", running[0])
	}
	kube, err := e.kubeContexts()
	if err != nil {
		return nil, err
	}
	if kube.Current != "" {
		return nil, noCluster(kube.Current)
	}
	return nil, exit.New(exit.Unreachable, "no mesh is running here, and no kubeconfig names a cluster").Try("meshctl up")
}

// named opens the mesh of a context.
func (e *Env) named(ctx context.Context, name string) (*Mesh, error) {
	if name == "local" {
		return Open(ctx, local.DefaultName)
	}
	if mesh, ok := strings.CutPrefix(name, "local:"); ok {
		return Open(ctx, mesh)
	}
	kube, err := e.kubeContexts()
	if err != nil {
		return nil, err
	}
	if slices.Contains(kube.Names, name) {
		return nil, noCluster(name)
	}
	err2 := exit.Usagef("there is no context %q: it is neither local, nor local:NAME, nor in %s", name, kube.Where)
	if len(kube.Names) > 0 {
		err2 = err2.Because(errors.New("kubeconfig has " + strings.Join(kube.Names, ", ")))
	}
	return nil, err2.Try("meshctl --context local …")
}

func noCluster(name string) error {
	return exit.New(exit.Unreachable, "context %q is a Kubernetes cluster, and this command is for a mesh on this machine", name).
		Try("meshctl up, for a mesh on this machine (--context local)")
}

// Running names the local meshes that answer.
func Running(ctx context.Context) ([]string, error) {
	names, err := local.List()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		if _, err := local.Open(ctx, n); err == nil {
			out = append(out, n)
		}
	}
	return out, nil
}

// Open opens a local mesh by its name.
func Open(ctx context.Context, name string) (*Mesh, error) {
	m, err := local.Open(ctx, name)
	if errors.Is(err, local.ErrNotRunning) {
		e := exit.New(exit.Unreachable, "no mesh named %q is running here", name)
		if running, err := Running(ctx); err == nil && len(running) > 0 {
			return nil, e.Because(errors.New("running: "+strings.Join(running, ", "))).Try("meshctl --context local:%s …", running[0])
		}
		if name == local.DefaultName {
			return nil, e.Try("meshctl up")
		}
		return nil, e.Try("meshctl up --name %s", name)
	}
	if err != nil {
		return nil, exit.Usagef("cannot open mesh %q", name).Because(err)
	}
	return &Mesh{Mesh: m, Name: name, API: meshapi.New(m.HTTP())}, nil
}

// PodsIn lists pods of a namespace, or of all with "", ordered by name.
func (m *Mesh) PodsIn(ctx context.Context, namespace string) ([]api.Pod, error) {
	all, err := m.Pods(ctx)
	if err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(all, func(p api.Pod) bool { return namespace != "" && p.Namespace != namespace })
	slices.SortFunc(pods, func(a, b api.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods, nil
}
