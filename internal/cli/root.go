package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/analyze"
	"github.com/meshctl/meshctl/internal/cli/apply"
	"github.com/meshctl/meshctl/internal/cli/authz"
	"github.com/meshctl/meshctl/internal/cli/bugreport"
	"github.com/meshctl/meshctl/internal/cli/bundle"
	"github.com/meshctl/meshctl/internal/cli/check"
	"github.com/meshctl/meshctl/internal/cli/checkinject"
	"github.com/meshctl/meshctl/internal/cli/dashboard"
	"github.com/meshctl/meshctl/internal/cli/deletion"
	"github.com/meshctl/meshctl/internal/cli/describe"
	"github.com/meshctl/meshctl/internal/cli/diff"
	"github.com/meshctl/meshctl/internal/cli/down"
	"github.com/meshctl/meshctl/internal/cli/effective"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exec"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/experimental"
	explaincmd "github.com/meshctl/meshctl/internal/cli/explain"
	"github.com/meshctl/meshctl/internal/cli/explainlog"
	"github.com/meshctl/meshctl/internal/cli/gateways"
	"github.com/meshctl/meshctl/internal/cli/get"
	"github.com/meshctl/meshctl/internal/cli/images"
	"github.com/meshctl/meshctl/internal/cli/injectcmd"
	"github.com/meshctl/meshctl/internal/cli/kubeinject"
	"github.com/meshctl/meshctl/internal/cli/load"
	"github.com/meshctl/meshctl/internal/cli/logs"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig"
	"github.com/meshctl/meshctl/internal/cli/proxystatus"
	"github.com/meshctl/meshctl/internal/cli/route"
	settingscmd "github.com/meshctl/meshctl/internal/cli/settings"
	"github.com/meshctl/meshctl/internal/cli/status"
	"github.com/meshctl/meshctl/internal/cli/troubleshoot"
	"github.com/meshctl/meshctl/internal/cli/unused"
	"github.com/meshctl/meshctl/internal/cli/up"
	"github.com/meshctl/meshctl/internal/cli/validate"
	"github.com/meshctl/meshctl/internal/cli/version"
	"github.com/meshctl/meshctl/internal/cli/wait"
	"github.com/meshctl/meshctl/internal/cli/whouses"
	"github.com/meshctl/meshctl/internal/cli/workload"
	"github.com/meshctl/meshctl/internal/settings"
)

// Groups of commands, as help lists them.
const (
	groupMesh    = "mesh"
	groupCluster = "cluster"
	groupObjects = "objects"
	groupLook    = "look"
	groupAsk     = "ask"
	groupOther   = "other"
)

// commands is every command, by group, in the order of help.
func commands(e *env.Env) map[string][]*cobra.Command {
	return map[string][]*cobra.Command{
		groupMesh:    {up.NewCmd(e, nil), down.NewCmd(e, nil), status.NewCmd(e, nil)},
		groupCluster: clusterCommands(e),
		groupObjects: {
			apply.NewCmd(e, nil), deletion.NewCmd(e, nil), wait.NewCmd(e, nil), get.NewCmd(e, nil), validate.NewCmd(e, nil), analyze.NewCmd(e, nil), explaincmd.NewCmd(e, nil),
			kubeinject.NewCmd(e, nil), workload.NewCmd(e),
		},
		groupLook: {
			proxystatus.NewCmd(e, nil), proxyconfig.NewCmd(e), logs.NewCmd(e, nil), explainlog.NewCmd(e, nil), exec.NewCmd(e, nil), load.NewCmd(e, nil),
			checkinject.NewCmd(e, nil), injectcmd.NewCmd(e), dashboard.NewCmd(e),
		},
		groupAsk: {
			troubleshoot.NewCmd(e, nil), describe.NewCmd(e, nil), effective.NewCmd(e, nil), whouses.NewCmd(e, nil), unused.NewCmd(e, nil), gateways.NewCmd(e, nil),
			diff.NewCmd(e, nil), route.NewCmd(e), authz.NewCmd(e),
		},
		groupOther: {
			bugreport.NewCmd(e, nil), experimental.NewCmd(e, istioctlNames(e)...), images.NewCmd(e), bundle.NewCmd(e), version.NewCmd(e, nil),
			settingscmd.NewCmd(e), newOptions(e),
		},
	}
}

// istioctlNames are commands that istioctl has under experimental, once more.
func istioctlNames(e *env.Env) []*cobra.Command {
	list := injectcmd.NewStatus(e, nil)
	list.Use, list.Example = "list", "  meshctl x injector list"
	injector := &cobra.Command{Use: "injector", Short: "List namespaces with their revision, and pods that a restart would change"}
	injector.AddCommand(list)
	return []*cobra.Command{
		authz.NewCmd(e), describe.NewCmd(e, nil), checkinject.NewCmd(e, nil), check.NewPrecheckCmd(e, nil), proxystatus.NewCmd(e, nil), version.NewCmd(e, nil), injector,
		wait.NewCmd(e, nil), workload.NewCmd(e),
	}
}

// NewRoot makes the tree of commands.
func NewRoot(e *env.Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "meshctl",
		Short: "A service mesh with Istio's API, on one machine or a cluster",
		Long: `meshctl runs and inspects a service mesh with Istio's API. On one Linux machine it
runs a whole mesh by itself: no root, no cluster, no container engine.`,
		Example: `  meshctl up                                  # a mesh with the Bookinfo sample, here
  meshctl proxy-status                        # what each proxy has acknowledged
  meshctl proxy-config routes productpage-v1  # what a proxy was told
  meshctl analyze ./manifests                 # what is wrong, before it is applied
  meshctl apply -f reviews-90-10.yaml         # a change, live
  meshctl down                                # end it; nothing is left behind`,
		Args:                       unknownCommand,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		DisableAutoGenTag:          true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			s, err := settings.Load(cmd.Flags(), settings.System())
			if err != nil {
				return exit.Dataf("the settings are not usable").Because(err).Try("meshctl settings keys")
			}
			e.Settings = s
			return nil
		},
	}
	addGlobalFlags(root, e)
	for _, g := range []*cobra.Group{
		{ID: groupMesh, Title: "A mesh on this machine:"},
		{ID: groupCluster, Title: "A mesh on a cluster:"},
		{ID: groupObjects, Title: "Objects of the mesh:"},
		{ID: groupLook, Title: "Look into it:"},
		{ID: groupAsk, Title: "Ask what would happen:"},
		{ID: groupOther, Title: "Other:"},
	} {
		root.AddGroup(g)
	}
	for group, all := range commands(e) {
		for _, c := range all {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(usageFor(e.IO))
	prepare(root)
	return root
}

func addGlobalFlags(root *cobra.Command, e *env.Env) {
	f := root.PersistentFlags()
	f.StringP("namespace", "n", "", "namespace of the objects you name (default \"default\")")
	f.StringP("istioNamespace", "i", "istio-system", "namespace of the control plane")
	f.String("context", "", "the mesh: local, local:NAME or a kubeconfig context (default the mesh that runs here)")
	f.StringP("kubeconfig", "c", "", "kubeconfig `file` whose contexts are known")
	f.String("as", "", "`user` to be on a cluster, by impersonation")
	f.StringSlice("as-group", nil, "`group` to be in on a cluster; may be repeated")
	f.String("as-uid", "", "`UID` of the user of --as")
	f.Duration("kubeclient-timeout", 15*time.Second, "how long one request to a cluster may take")
	_ = root.RegisterFlagCompletionFunc("namespace", e.CompleteNamespaces)
	_ = root.RegisterFlagCompletionFunc("istioNamespace", e.CompleteNamespaces)
	_ = root.RegisterFlagCompletionFunc("context", e.CompleteContexts)
}

// prepare gives every command below what cobra has no setting for: parents
// refuse unknown subcommands with a suggestion, as the root does.
func prepare(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		if c.HasSubCommands() && c.RunE == nil {
			c.Args = unknownCommand
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
		c.DisableFlagsInUseLine = true
		prepare(c)
	}
}

// unknownCommand is what is said of an argument where a command should be.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	err := exit.Usagef("%s has no command %q", cmd.CommandPath(), args[0])
	for _, s := range cmd.SuggestionsFor(args[0]) {
		err = err.Try("did you mean: %s %s", cmd.CommandPath(), s)
	}
	return err.Try("%s --help", cmd.CommandPath())
}

// flagError says which flag was meant.
func flagError(cmd *cobra.Command, err error) error {
	e := exit.Usagef("%s", strings.TrimPrefix(err.Error(), "unknown flag: --"))
	if name, ok := strings.CutPrefix(err.Error(), "unknown flag: --"); ok {
		e.Message = fmt.Sprintf("%s has no flag --%s", cmd.CommandPath(), name)
		if near := nearestFlag(cmd, name); near != "" {
			e = e.Try("did you mean --%s?", near)
		}
	}
	return e.Try("%s --help", cmd.CommandPath())
}
