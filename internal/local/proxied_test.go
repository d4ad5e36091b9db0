package local_test

import (
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/runtime"
)

func proxiedControlPlane(*local.NodeEnv) runtime.ControlPlane { return runtime.ControlPlane{} }

func proxyProgram() error { return nil }
