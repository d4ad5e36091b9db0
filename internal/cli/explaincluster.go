package cli

import (
	"errors"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/clustermesh"
	"github.com/meshctl/meshctl/internal/kube"
)

// explainCluster knows the errors between us and a Kubernetes cluster.
func explainCluster(err error) error {
	var none *clustermesh.NoControlPlaneError
	if errors.As(err, &none) {
		return exit.New(exit.Unreachable, "%v", none).
			Try("meshctl install").Try("name its namespace with --istioNamespace, if it is in another than %s", none.Namespace)
	}
	var absent *clustermesh.NoRevisionError
	if errors.As(err, &absent) {
		return exit.Usagef("%v", absent).Try("meshctl version")
	}
	var k *kube.Error
	if !errors.As(err, &k) {
		return nil
	}
	e := exit.New(clusterCode(k.Kind), "%s", k.Message)
	e.Cause, e.Steps = k.Cause, k.Steps
	return e
}

func clusterCode(k kube.Kind) int {
	switch k {
	case kube.NoConfig, kube.Unreachable, kube.BadTLS, kube.NotCluster:
		return exit.Unreachable
	case kube.BadConfig:
		return exit.Data
	case kube.Unauthorized, kube.Forbidden:
		return exit.Rights
	case kube.Late, kube.Throttled:
		return exit.Timeout
	case kube.OldVersion:
		return exit.Failure
	}
	return exit.Failure
}
