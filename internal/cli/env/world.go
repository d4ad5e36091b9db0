package env

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/whatif"
)

// WorldFlags are those of every command that asks what would happen.
type WorldFlags struct{ ObjectSources }

// Add makes the flags.
func (w *WorldFlags) Add(e *Env, cmd *cobra.Command) {
	e.RevisionFlag(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&w.Paths, "files", nil, "`file` or folder whose objects count, in place of those of the running mesh with the same names; may be repeated")
	f.BoolVarP(&w.UseMesh, "use-kube", "k", true, "ask about what runs, if a mesh runs; false: about --files alone")
	f.BoolVarP(&w.Recursive, "recursive", "R", true, "look into the folders below, too")
}

// World derives the mesh that a command asks about. Errors in files, and what could
// not be read of a cluster, are said: the answer is about the rest.
func (e *Env) World(ctx context.Context, f WorldFlags) (*whatif.World, error) {
	objects, findings, err := e.Objects(ctx, f.ObjectSources)
	if err != nil {
		return nil, err
	}
	e.SayFindings(unread(findings))
	return whatif.New(ctx, whatif.Input{Objects: objects})
}

// ExplainAsk puts an error of a question into a message with the next step.
func ExplainAsk(err error) error {
	var unknown *whatif.UnknownWorkloadError
	if errors.As(err, &unknown) {
		e := exit.Usagef("%s", unknown.Error())
		if len(unknown.Have) > 0 {
			e = e.Because(errors.New("there are " + strings.Join(unknown.Have, ", ")))
		}
		return e.Try("name a workload, a pod, or NAME.NAMESPACE")
	}
	if err != nil {
		return exit.Usagef("%s", err.Error())
	}
	return nil
}
