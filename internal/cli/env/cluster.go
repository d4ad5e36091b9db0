package env

import (
	"context"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/version"
)

// Cluster is the Kubernetes cluster that the user means: the kubeconfig context
// of --context, else the current one. It reads files only; what answers there,
// if anything, is found by the first call.
func (e *Env) Cluster() (*kube.Client, error) {
	if c := e.Settings.Context; c == "local" || strings.HasPrefix(c, "local:") {
		return nil, exit.Usagef("context %q is a mesh on this machine, and this command is for a cluster", c).
			Try("name a kubeconfig context with --context").Try("meshctl up, for a mesh on this machine")
	}
	return kube.New(e.clusterOptions())
}

// ConnectedCluster is Cluster, after it has said that it is one, and not too old.
func (e *Env) ConnectedCluster(ctx context.Context) (*kube.Client, string, error) {
	c, err := e.Cluster()
	if err != nil {
		return nil, "", err
	}
	v, err := c.Version(ctx)
	if err != nil {
		return nil, "", err
	}
	return c, v, kube.CheckVersion(v)
}

func (e *Env) clusterOptions() kube.Options {
	var groups []string
	if e.Settings.AsGroup != "" {
		groups = strings.Split(e.Settings.AsGroup, ",")
	}
	return kube.Options{
		Kubeconfig: e.Settings.Kubeconfig, Context: e.Settings.Context, Namespace: e.Settings.Namespace,
		As: e.Settings.As, AsUID: e.Settings.AsUID, AsGroups: groups,
		Timeout: e.Settings.ClientTimeout, UserAgent: "meshctl/" + version.Get(),
	}
}
