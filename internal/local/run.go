package local

import (
	"context"
	"fmt"

	"github.com/meshctl/meshctl/internal/local/api"
)

// Run runs a mesh in the foreground until ctx ends, and stops it then. ready is
// told the status when everything is ready or has failed; o.Progress is told
// events all the time. When the calling process dies, so does the mesh.
//
// The errors are Start's, except that a mesh in which something is not ready in
// time runs on: ready is told why. A mesh that ends by itself is an error.
func Run(ctx context.Context, o Options, ready func(api.Status, error)) error {
	o.Foreground = true
	var seen uint64
	progress := o.Progress
	o.Progress = func(e api.Event) {
		seen = e.Seq
		if progress != nil {
			progress(e)
		}
	}
	m, status, err := Start(ctx, o)
	if m == nil {
		return err
	}
	ready(status, err)
	err = m.Events(ctx, seen, true, func(e api.Event) error {
		o.Progress(e)
		return nil
	})
	if ctx.Err() == nil {
		_ = m.Release()
		if err == nil {
			err = &StartError{Message: "the mesh has ended", Log: lastLines(m.Paths.Log())}
		}
		return err
	}
	if _, err := Stop(context.WithoutCancel(ctx), o.withDefaults().Name, 0); err != nil {
		return fmt.Errorf("run mesh: %w", err)
	}
	return m.Release()
}
