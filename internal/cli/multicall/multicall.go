// Package multicall lets one executable be all programs of a mesh: which one is
// decided by the name it is called by. `meshctl up` runs sidecars and the
// built-in sample from its own executable this way.
//
//	func main() { os.Exit(multicall.Main(os.Args)) }
package multicall

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/meshctl/meshctl/internal/agent"
	"github.com/meshctl/meshctl/internal/cli"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/localmesh"
	"github.com/meshctl/meshctl/internal/meshd"
	"github.com/meshctl/meshctl/internal/version"
	"github.com/meshctl/meshctl/samples/bookinfo/app"
)

// program runs until it is done and returns the exit code.
type program func(args []string) int

// programs are the names other than meshctl.
func programs() map[string]program {
	return map[string]program{
		"meshproxy": func(args []string) int { return agent.Main(args, version.Get()) },
		"meshd":     func(args []string) int { return meshd.Main(args, os.Stderr, os.Getenv) },
		"bookinfo":  func(args []string) int { return app.Main(args, os.Stdout, os.Stderr, os.Getenv) },
	}
}

// find looks a program up by what a process was called.
func find(argv0 string) (program, bool) {
	p, ok := programs()[filepath.Base(argv0)]
	return p, ok
}

// Main runs the program that args[0] names; any other name is meshctl's. Processes
// of a local mesh come first: they are started by meshctl itself.
func Main(args []string) int {
	if code, handled := local.MaybeReexec(args, local.Hooks{Node: localmesh.Hook}); handled {
		return code
	}
	if run, ok := find(args[0]); ok {
		return run(args[1:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C ends at once.
	context.AfterFunc(ctx, stop)
	return cli.Main(ctx, args[1:])
}
