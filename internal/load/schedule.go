package load

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// schedule gives out requests: in a closed loop whenever a worker asks, with a
// rate at the intended times. All times are offsets from the start.
type schedule struct {
	paced    bool
	rate     float64
	requests int64 // 0: no limit
	duration time.Duration

	given  atomic.Int64
	due    chan time.Duration // paced: the intended start of the next request
	start  atomic.Pointer[time.Time]
	unsent int64 // paced: due within duration, but no worker was free; set when run has ended
}

func newSchedule(p *plan) *schedule {
	return &schedule{
		paced: p.Rate > 0, rate: p.Rate, requests: p.Requests, duration: p.Duration,
		due: make(chan time.Duration),
	}
}

// next returns the intended start of the worker's next request; false when there
// is no more to do.
func (s *schedule) next(ctx context.Context) (time.Duration, bool) {
	if s.paced {
		at, ok := <-s.due
		return at, ok
	}
	if ctx.Err() != nil {
		return 0, false
	}
	now := time.Duration(0)
	if start := s.start.Load(); start != nil {
		now = time.Since(*start)
	}
	if now >= s.duration || (s.given.Add(1) > s.requests && s.requests > 0) {
		return 0, false
	}
	return now, true
}

// run hands out the paced requests until duration, requests or ctx end it. It is
// the only place that waits for a time; workers that are all busy delay it, and
// it catches up without waiting.
func (s *schedule) run(ctx context.Context, start time.Time) {
	s.start.Store(&start)
	defer close(s.due)
	if !s.paced {
		return
	}
	end := time.NewTimer(s.duration)
	defer end.Stop()
	var n int64
	for ; s.requests == 0 || n < s.requests; n++ {
		at := s.intended(n)
		if at >= s.duration || !waitUntil(ctx, start, at) {
			return
		}
		select {
		case s.due <- at:
		case <-end.C:
			s.unsent = s.dueWithin() - n
			return
		case <-ctx.Done():
			return
		}
	}
}

// intended is when request n starts.
func (s *schedule) intended(n int64) time.Duration {
	return time.Duration(float64(n) / s.rate * float64(time.Second))
}

// dueWithin is how many requests the whole duration asks for.
func (s *schedule) dueWithin() int64 {
	n := int64(s.duration.Seconds() * s.rate)
	for s.intended(n) < s.duration {
		n++
	}
	for n > 0 && s.intended(n-1) >= s.duration {
		n--
	}
	if s.requests > 0 {
		n = min(n, s.requests)
	}
	return n
}

// Go's timers may be a millisecond late when the process is otherwise idle, which
// would be charged to the target. So they are used for the long part of a wait
// and the rest is slept by the operating system.
const (
	timerSlack = 1500 * time.Microsecond
	soonEnough = 20 * time.Microsecond // not worth a system call
)

// waitUntil reports whether at was reached before ctx ended.
func waitUntil(ctx context.Context, start time.Time, at time.Duration) bool {
	exact := runtime.GOMAXPROCS(0) > 1 // a sleeping thread must not hold the only processor
	for {
		left := at - time.Since(start)
		switch {
		case ctx.Err() != nil:
			return false
		case left <= soonEnough:
			return true
		case !exact:
			if !pause(ctx, left) {
				return false
			}
		case left > timerSlack:
			if !pause(ctx, left-timerSlack) {
				return false
			}
		default:
			sleepExactly(left)
		}
	}
}
