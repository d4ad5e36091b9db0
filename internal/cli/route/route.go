// Package route is the command `meshctl route`: what a request would get.
package route

import (
	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
)

// NewCmd makes the parent of the commands about routes.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "route",
		Short: "Say what a request would get, and which line decides",
	}
	cmd.AddCommand(NewTest(e, nil))
	return cmd
}
