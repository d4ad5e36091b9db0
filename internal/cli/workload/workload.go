// Package workload is the command `meshctl workload`: machines outside of a cluster.
package workload

import (
	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
)

// NewCmd makes the command.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "workload COMMAND",
		Short: "Bring virtual machines and other hosts into the mesh",
		Long: `A machine that is no pod joins the mesh with a sidecar of its own. A WorkloadGroup
says what such machines have in common; a folder of files, written for one machine,
lets its meshproxy find and trust the mesh.`,
		Example: `  meshctl workload group create --name ratings --labels app=ratings --ports http=9080 --serviceAccount bookinfo-ratings > group.yaml
  kubectl apply -f group.yaml
  meshctl workload entry configure --name ratings --autoregister -o ratings-vm
  # copy the folder ratings-vm to the machine; there, as root:
  meshproxy capture --config ratings-vm
  meshproxy proxy sidecar --config ratings-vm`,
	}
	group := &cobra.Command{Use: "group COMMAND", Short: "WorkloadGroups: what machines have in common"}
	group.AddCommand(newCreate(e, nil))
	entry := &cobra.Command{Use: "entry COMMAND", Short: "The files of one machine"}
	entry.AddCommand(newConfigure(e, nil))
	cmd.AddCommand(group, entry)
	return cmd
}
