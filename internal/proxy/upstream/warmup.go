package upstream

import (
	"math"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// A host that is new to its cluster gets a growing share of what its weight says
// (Envoy's slow start, a DestinationRule's warmup). Hosts that came together are
// new together and share evenly.

// warming reports whether a host of the cluster may still be new.
func (v *view) warming(now time.Time) bool {
	s := v.cluster.LB.SlowStart
	return s != nil && now.UnixNano() < v.state.youngest.Load()+int64(s.Window)
}

// weigh is the weight of a host at now, in percent when the cluster is warming.
func (v *view) weigh(h *Host, warming bool, now time.Time) uint64 {
	w := uint64(h.weight())
	if !warming {
		return w
	}
	return w * warmth(v.cluster.LB.SlowStart, now.Sub(h.born))
}

// warmth is the share of its weight that a host of an age gets, in percent.
func warmth(s *snapshot.SlowStart, age time.Duration) uint64 {
	if age >= s.Window {
		return 100
	}
	share := math.Pow(max(age, time.Millisecond).Seconds()/s.Window.Seconds(), 1/s.Aggression)
	return uint64(max(1, 100*share, s.MinPercent))
}
