// Package proxyconfig is the command `meshctl proxy-config`: what proxies were
// told, with istioctl's columns and filters, for one pod, several, or a dump.
package proxyconfig

import (
	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

// NewCmd makes the command with all below it.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "proxy-config",
		Aliases: []string{"pc"},
		Short:   "Show what proxies were told: listeners, routes, clusters, endpoints, certificates",
		Long: `Show the configuration that proxies work by, as their admin interface tells it.
Pods are named as [TYPE/]NAME[.NAMESPACE]; several at once, or with -l, get a
column of their own. With -f, a saved dump of the native proxy or of a stock
Envoy is read, and no mesh is needed.`,
		Example: `  meshctl proxy-config routes productpage-v1
  meshctl pc clusters deploy/productpage-v1 --fqdn reviews --port 9080
  meshctl pc listeners -l app=reviews --port 15006
  meshctl pc endpoints productpage-v1 --cluster 'outbound|9080|v2|reviews.default.svc.cluster.local'
  meshctl pc all productpage-v1 -o json > dump.json; meshctl pc routes -f dump.json`,
	}
	cmd.AddCommand(
		newCluster(e), newListener(e), newRoute(e), newEndpoint(e), newSecret(e), newBootstrap(e), newExtension(e), newRootCompare(e), newLog(e), newAll(e),
	)
	return cmd
}

// Target is which proxies a subcommand looks at.
type Target struct {
	Env *env.Env

	Pods      []string
	Selector  string
	File      string
	AdminPort int
	Format    stdio.Format
}

// newTarget makes a Target with istioctl's name for its default format.
func newTarget(e *env.Env) Target {
	return Target{Env: e, Format: stdio.Formats("short", stdio.Wide, stdio.CSV)}
}

// addFlags adds what all subcommands share.
func (t *Target) addFlags(cmd *cobra.Command, file bool) {
	f := cmd.Flags()
	f.StringVarP(&t.Selector, "selector", "l", "", "of all pods with these labels, e.g. app=reviews")
	f.IntVar(&t.AdminPort, "proxy-admin-port", 15000, "`port` of the proxy's admin interface")
	if file {
		f.StringVarP(&t.File, "file", "f", "", "read a dump from this `file`, or - for standard input")
	}
	t.Format.AddFlag(cmd)
	cmd.ValidArgsFunction = t.Env.CompletePods
}

// read takes the arguments.
func (t *Target) read(cmd *cobra.Command, args []string) error {
	t.Pods = args
	named := len(args) > 0 || t.Selector != ""
	switch {
	case t.File != "" && named:
		return exit.Usagef("%s takes pods or a file, not both", cmd.CommandPath())
	case t.File == "" && !named:
		return exit.Usagef("%s needs a pod", cmd.CommandPath()).Try("%s POD", cmd.CommandPath()).Try("%s -l app=NAME", cmd.CommandPath())
	case len(args) > 0 && t.Selector != "":
		return exit.Usagef("%s takes pods or a selector, not both", cmd.CommandPath())
	}
	return nil
}
