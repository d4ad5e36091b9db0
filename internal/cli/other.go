package cli

import (
	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
)

// newOptions is the command that lists what help leaves out.
func newOptions(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "List the flags that all commands share",
		Args:  env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			e.IO.Printf("These flags work with every command:\n\n%s", cmd.Root().PersistentFlags().FlagUsages())
			return nil
		},
	}
}
