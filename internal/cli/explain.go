package cli

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/client"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
)

// explain gives an error of what commands call its exit code and next step.
// Errors that a command has made for the user pass as they are.
func explain(ctx context.Context, err error) error {
	var known *exit.Error
	if errors.As(err, &known) {
		if ctx.Err() != nil && known.Code == exit.Unreachable {
			return exit.New(exit.Interrupted, "interrupted") // it was us who hung up
		}
		return known
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exit.New(exit.Interrupted, "interrupted")
	}
	if e := explainMesh(err); e != nil {
		return e
	}
	if e := explainCluster(err); e != nil {
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return exit.New(exit.Timeout, "not done in time").Because(err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EPERM):
		return exit.New(exit.Rights, "not allowed").Because(err)
	case errors.Is(err, syscall.EPIPE):
		return exit.Silent(exit.OK) // the reader of a pipe has seen enough
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return exit.New(exit.Unreachable, "the mesh cannot be reached").Because(op.Err).Try("meshctl status").Try("meshctl up")
	}
	return err
}

// explainMesh knows the errors of the local mesh and of its API.
func explainMesh(err error) error {
	var running *local.RunningError
	if errors.As(err, &running) {
		return exit.Failuref("%v", running).Try("meshctl status --name %s", running.Name).Try("meshctl down --name %s", running.Name)
	}
	var forbidden *node.UnavailableError
	if errors.As(err, &forbidden) {
		return exit.New(exit.Rights, "this machine does not let you run a mesh").Because(errors.New(forbidden.Cause)).Try("%s", forbidden.Fix)
	}
	var start *local.StartError
	if errors.As(err, &start) {
		e := exit.Failuref("%s", start.Message)
		if start.Log != "" {
			e = e.Because(errors.New("the mesh's log ends with\n" + start.Log))
		}
		if start.Fix != "" {
			e = e.Try("%s", start.Fix)
		}
		return e
	}
	var late *local.NotReadyError
	if errors.As(err, &late) {
		return exit.New(exit.Timeout, "%v", late)
	}
	var answer *meshapi.Error
	if errors.As(err, &answer) {
		return fromStatus(answer.Status, answer.Message, answer.Fix)
	}
	var no *client.Error
	if errors.As(err, &no) {
		return fromStatus(no.Status, no.Message, "")
	}
	return nil
}

// fromStatus gives an answer of the mesh its exit code.
func fromStatus(status int, message, fix string) error {
	code := exit.Failure
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		code = exit.Data
	case http.StatusUnauthorized, http.StatusForbidden:
		code = exit.Rights
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		code = exit.Timeout
	case http.StatusServiceUnavailable, http.StatusBadGateway:
		code = exit.Unreachable
	}
	e := exit.New(code, "%s", message)
	if fix != "" {
		e = e.Try("%s", fix)
	}
	return e
}
