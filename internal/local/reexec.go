package local

import (
	"context"
	"fmt"
	"log/slog"
	"os"
)

// How our own processes are told apart from a user's command.
const (
	argv0    = "meshctl-local"
	roleHost = "host" // meshctl-local host <state directory> [foreground]
	roleNode = "node" // meshctl-local node <state directory>, with the bridge as file 3
)

const inForeground = "foreground"

// selfExe is our own program, also when its file was replaced or deleted since.
const selfExe = "/proc/self/exe"

// Hooks are what the caller adds to a mesh.
type Hooks struct {
	// Node runs inside the node: it starts the control plane, calls env.Use and
	// env.SetObjects, and returns when ctx ends. An error ends the mesh.
	Node func(ctx context.Context, env *NodeEnv) error
}

// MaybeReexec plays the part of a mesh's process when args say so. Call it
// first in main, and exit with code when handled.
func MaybeReexec(args []string, hooks Hooks) (code int, handled bool) {
	if len(args) < 3 || args[0] != argv0 {
		return 0, false
	}
	var err error
	switch args[1] {
	case roleHost:
		err = runHost(Paths{Dir: args[2]}, len(args) > 3 && args[3] == inForeground)
	case roleNode:
		err = runNode(Paths{Dir: args[2]}, hooks)
	default:
		err = fmt.Errorf("unknown part %q", args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// newLogger writes to standard error, which is mesh.log.
func newLogger(s Settings, process string) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("process", process)
}
