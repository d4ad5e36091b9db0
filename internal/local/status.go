package local

import (
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/local/runtime"
)

// statusWithHost adds what only the host-side process knows.
type statusWithHost struct {
	*runtime.Runtime
	hello hello
}

// Status implements control.Mesh.
func (s statusWithHost) Status() api.Status {
	status := s.Runtime.Status()
	status.PID, status.Folder = s.hello.PID, s.hello.Settings.Folder
	if l := s.hello.Settings.Lacking; l != nil {
		status.Lacking, status.LackingFix = l.Cause, l.Fix
	}
	return status
}
