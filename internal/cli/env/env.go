// Package env is what every command is given: streams, settings, and the mesh
// that the user means. Main makes one Env; nothing in it is global.
//
//	m, err := e.Mesh(ctx)      // the running mesh of --context
//	pods, err := m.Pods(ctx)
package env

import (
	"cmp"
	"time"

	"github.com/meshctl/meshctl/internal/cli/stdio"
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
	// Revision is that of the control plane that is asked; "" is every one.
	Revision string

	contextNamespace string // that of the kubeconfig context, once Mesh has opened it
}

// Namespace is the one to use when an argument names none: as kubectl does, the one
// of the kubeconfig context, after Mesh has opened a cluster.
func (e *Env) Namespace() string {
	return cmp.Or(e.Settings.Namespace, e.contextNamespace, DefaultNamespace)
}
