// Package bundle is the command `meshctl bundle`.
package bundle

import (
	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
)

// NewCmd makes the command with its subcommands.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Carry all that an installation needs to where there is no network",
		Example: `  meshctl bundle create -o mesh-bundle.tar.gz
  meshctl bundle load mesh-bundle.tar.gz --registry registry.internal/mesh
  meshctl bundle load mesh-bundle.tar.gz --containerd`,
	}
	cmd.AddCommand(newCreateCmd(e), newLoadCmd(e))
	return cmd
}
