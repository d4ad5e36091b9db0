package env

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/exit"
)

// Args checks the number of arguments, and says what is missing in the words of
// the command's usage line. most < 0: no limit.
func Args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return exit.Usagef("%s needs %s", cmd.CommandPath(), wanted(cmd)).Try("%s --help", cmd.CommandPath())
		case most >= 0 && len(args) > most:
			if most == 0 {
				return exit.Usagef("%s takes no argument, but got %q", cmd.CommandPath(), args[0]).Try("%s --help", cmd.CommandPath())
			}
			return exit.Usagef("%s does not know what %q is for: it takes %s", cmd.CommandPath(), args[most], wanted(cmd)).Try("%s --help", cmd.CommandPath())
		}
		return nil
	}
}

func wanted(cmd *cobra.Command) string {
	_, args, _ := strings.Cut(cmd.Use, " ")
	return args
}
