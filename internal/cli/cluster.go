package cli

import (
	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/check"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/history"
	"github.com/meshctl/meshctl/internal/cli/install"
	"github.com/meshctl/meshctl/internal/cli/manifest"
	"github.com/meshctl/meshctl/internal/cli/multicluster"
	"github.com/meshctl/meshctl/internal/cli/profile"
	"github.com/meshctl/meshctl/internal/cli/restart"
	"github.com/meshctl/meshctl/internal/cli/rollback"
	"github.com/meshctl/meshctl/internal/cli/tag"
	"github.com/meshctl/meshctl/internal/cli/uninstall"
	"github.com/meshctl/meshctl/internal/cli/verifyinstall"
)

// clusterCommands put the mesh on a cluster and keep it there.
func clusterCommands(e *env.Env) []*cobra.Command {
	return []*cobra.Command{
		check.NewPrecheckCmd(e, nil), install.NewCmd(e, nil), install.NewUpgradeCmd(e, nil), uninstall.NewCmd(e, nil),
		check.NewCmd(e, nil), verifyinstall.NewCmd(e, nil), history.NewCmd(e, nil), rollback.NewCmd(e, nil),
		tag.NewCmd(e), restart.NewCmd(e, nil), manifest.NewCmd(e), profile.NewCmd(e),
		multicluster.NewSecretCmd(e, nil), multicluster.NewClustersCmd(e, nil),
	}
}
