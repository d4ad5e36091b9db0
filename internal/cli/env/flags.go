package env

import "github.com/spf13/cobra"

// FreeShorthands lets a command use the short form of flags that all commands
// share, such as load's -n: the long form stays.
func FreeShorthands(cmd *cobra.Command, names ...string) {
	for _, n := range names {
		cmd.Flags().String(n, "", "as for all commands")
		cmd.Flags().Lookup(n).Hidden = true
	}
}
