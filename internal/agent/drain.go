package agent

import (
	"context"
	"time"
)

// drain ends a proxy's service without hurting anyone: readiness fails first, so
// that no new work comes; connections are told to end; and after the drain time,
// or when nothing is left to do if that is asked for, it returns.
//
// Where the pod's end began with POST /drain, as a native sidecar's does, that is
// over: the application has ended before the sidecar is told to.
func drain(ctx context.Context, st *Status, s Settings) {
	if st.drained.Load() {
		return
	}
	st.Terminating()
	st.Proxy.Drain(s.Role == "sidecar")
	if !s.ExitOnZeroConnections {
		wait(ctx, s.DrainDuration)
		return
	}
	wait(ctx, s.MinimumDrain)
	for st.Proxy.Connections() > 0 && ctx.Err() == nil {
		wait(ctx, time.Second)
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
