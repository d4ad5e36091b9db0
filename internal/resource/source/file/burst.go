package file

import "time"

// burst waits until a run of events has settled: quiet for a while, or going on
// for so long that it should be read anyway.
type burst struct {
	settle  time.Duration
	timer   *time.Timer
	pending bool
	since   time.Time
}

func newBurst(settle time.Duration) *burst {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &burst{settle: settle, timer: t}
}

// touch notes an event.
func (b *burst) touch() {
	now := time.Now()
	if !b.pending {
		b.pending, b.since = true, now
	}
	most := b.since.Add(20 * b.settle).Sub(now)
	b.timer.Reset(max(0, min(b.settle, most)))
}

// later asks for another look though nothing happened.
func (b *burst) later() {
	if !b.pending {
		b.timer.Reset(4 * b.settle)
	}
}

func (b *burst) quiet() <-chan time.Time { return b.timer.C }

func (b *burst) reset() { b.pending = false }

func (b *burst) stop() { b.timer.Stop() }
