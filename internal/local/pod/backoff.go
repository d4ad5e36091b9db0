package pod

import "time"

// Pauses between restarts, as the kubelet makes them, but beginning at one
// second: on one machine somebody is waiting.
const (
	backoffFirst = time.Second
	backoffMost  = 5 * time.Minute
	backoffReset = 10 * time.Minute // a run of this length forgets earlier failures
)

type backoff struct{ pause time.Duration }

func newBackoff() *backoff { return &backoff{pause: backoffFirst} }

// next is the pause after a run that lasted ran.
func (b *backoff) next(ran time.Duration) time.Duration {
	if ran >= backoffReset {
		b.pause = backoffFirst
	}
	p := b.pause
	b.pause = min(b.pause*2, backoffMost)
	return p
}
