package agent

import (
	"context"
	"time"
)

// drain ends a proxy's service without hurting anyone: readiness fails first, so
// that no new work comes; connections are told to end; and after the drain time,
// or when nothing is left to do if that is asked for, it returns.
func drain(ctx context.Context, st *Status, s Settings) {
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
