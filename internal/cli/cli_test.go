package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/meshctl/meshctl/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"meshctl": func() { os.Exit(cli.Main(context.Background(), os.Args[1:])) },
	})
}

// TestScripts runs testdata/script: each reads like a page of the manual.
// UPDATE_GOLDEN=1 rewrites what commands are expected to print.
func TestScripts(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_GOLDEN") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"mesh": startMesh, "code": exitCode, "cluster": startCluster, "forbid": forbid,
		},
		Setup: func(e *testscript.Env) error {
			// A socket's path is at most 107 bytes: scripts' own folders are too long.
			runtime, err := os.MkdirTemp("/tmp", "mc")
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(runtime) })
			e.Setenv("XDG_RUNTIME_DIR", runtime)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, ".config"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("KUBECONFIG", filepath.Join(e.WorkDir, "no-kubeconfig"))
			e.Setenv("ROOT", root)
			return nil
		},
	})
}
