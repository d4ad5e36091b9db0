// Package cli is meshctl's command line: the tree of commands, the flags they
// share, and the one place where errors become messages and exit codes.
//
//	os.Exit(cli.Main(ctx, os.Args[1:]))
//
// A command is a package of its own, cli/<command>: Options, NewCmd and Run. It
// parses, calls, and prints; what it calls is not in here. To add one, write the
// package and add a line to commands() in root.go.
package cli

import (
	"context"
	"os"
	"time"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

// Main runs a command with the process's own streams and environment.
func Main(ctx context.Context, args []string) int {
	return Run(ctx, &env.Env{IO: stdio.System(os.Getenv), Getenv: os.Getenv, Now: time.Now}, args)
}

// Run runs a command in given surroundings and returns its exit code.
func Run(ctx context.Context, e *env.Env, args []string) int {
	root := NewRoot(e)
	root.SetArgs(args)
	root.SetIn(e.IO.In)
	root.SetOut(e.IO.Out)
	root.SetErr(e.IO.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exit.OK
	}
	err = explain(ctx, err)
	exit.Print(e.IO.Err, err, func(word string) string { return e.IO.ErrPaint(labelStyle(word), word) })
	return exit.CodeOf(err)
}

func labelStyle(word string) stdio.Style {
	switch word {
	case "error:":
		return stdio.Red
	case "try:":
		return stdio.Green
	default:
		return stdio.Dim
	}
}
