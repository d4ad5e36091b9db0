package probe

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Watch asks again and again until ctx ends and calls changed when the result
// settles on another one than before: after SuccessThreshold successes or
// FailureThreshold failures in a row. The first state is neither.
//
// While a container has not yet answered well, it is asked more often than its
// period says (from 50 ms up), since "up" waits for it.
func Watch(ctx context.Context, p *corev1.Probe, t Target, changed func(healthy bool, err error)) {
	if !sleep(ctx, seconds(p.InitialDelaySeconds, 0)) {
		return
	}
	period := Period(p)
	eager := min(50*time.Millisecond, period)
	var good, bad int
	state := 0 // 1 healthy, -1 not, 0 unknown
	for {
		err := Run(ctx, p, t)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		switch {
		case state != 1 && good >= SuccessThreshold(p):
			state = 1
			changed(true, nil)
		case state != -1 && bad >= FailureThreshold(p) && (state == 1 || eager >= period):
			state = -1
			changed(false, err)
		}
		wait := period
		if state == 0 {
			wait = eager
			eager = min(eager*2, period)
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
