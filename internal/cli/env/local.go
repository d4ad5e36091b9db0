package env

import (
	"context"
	"errors"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
)

// Local is a mesh that runs on this machine, for commands that change it or ask what
// only such a mesh has.
type Local struct {
	*local.Mesh
	Name string
	API  *meshapi.Client
}

// Local is Mesh for commands that are for a mesh on this machine only.
func (e *Env) Local(ctx context.Context) (*Local, error) {
	name, here, err := e.chosen(ctx)
	if err != nil {
		return nil, err
	}
	if here {
		return Open(ctx, name)
	}
	if name == "" {
		kube, err := e.kubeContexts()
		if err != nil {
			return nil, err
		}
		name = kube.Current
	}
	if name == "" {
		return nil, exit.New(exit.Unreachable, "no mesh is running here, and no kubeconfig names a cluster").Try("meshctl up")
	}
	return nil, exit.New(exit.Unreachable, "context %q is a Kubernetes cluster, and this command is for a mesh on this machine", name).
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
func Open(ctx context.Context, name string) (*Local, error) {
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
	return NewLocal(m, name), nil
}

// NewLocal is a mesh that was just started.
func NewLocal(m *local.Mesh, name string) *Local {
	return &Local{Mesh: m, Name: name, API: meshapi.New(m.HTTP())}
}

// Any is the same mesh for what works on all.
func (l *Local) Any() *Mesh {
	return &Mesh{Home: l.Mesh, API: l.API, Name: l.Name, read: l.read}
}
