package listener

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// sharedLimits are the counts of network filters that all workers share. The
// configuration object is their identity: an unchanged chain keeps its count.
type sharedLimits struct {
	mu      sync.Mutex
	conns   map[*snapshot.ConnectionLimit]*atomic.Int64
	buckets map[*snapshot.LocalRateLimit]*bucket
}

func (s *sharedLimits) limit(f *snapshot.ConnectionLimit) *atomic.Int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.conns[f]
	if n == nil {
		if s.conns == nil {
			s.conns = map[*snapshot.ConnectionLimit]*atomic.Int64{}
		}
		n = &atomic.Int64{}
		s.conns[f] = n
	}
	return n
}

// bucket is a token bucket that is filled in steps, as Envoy's is.
type bucket struct {
	tokens uint32
	filled time.Time
}

// million is the unit of fractions.
const million = 1_000_000

// take lets a connection pass or not.
func (s *sharedLimits) take(f *snapshot.LocalRateLimit, w *engine.Worker) bool {
	b := f.Bucket
	if b == nil || w.Rand().Int32N(million) >= f.Enabled {
		return true
	}
	if s.token(f, w.Now()) {
		return true
	}
	return w.Rand().Int32N(million) >= f.Enforced
}

func (s *sharedLimits) token(f *snapshot.LocalRateLimit, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.buckets[f]
	if k == nil {
		if s.buckets == nil {
			s.buckets = map[*snapshot.LocalRateLimit]*bucket{}
		}
		k = &bucket{tokens: f.Bucket.Max, filled: now}
		s.buckets[f] = k
	}
	interval := max(f.Bucket.Interval, time.Millisecond)
	if steps := int64(now.Sub(k.filled) / interval); steps > 0 {
		k.filled = k.filled.Add(time.Duration(steps) * interval)
		k.tokens = uint32(min(uint64(k.tokens)+uint64(min(steps, 1<<20))*uint64(f.Bucket.Fill), uint64(f.Bucket.Max)))
	}
	if k.tokens == 0 {
		return false
	}
	k.tokens--
	return true
}

// prune forgets the counts of filters that are in force no more.
func (s *sharedLimits) prune(snap *snapshot.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns)+len(s.buckets) == 0 {
		return
	}
	live := map[any]bool{}
	eachChain(snap, func(c *snapshot.Chain) {
		for i := range c.Network {
			switch f := c.Network[i].Config.(type) {
			case *snapshot.ConnectionLimit, *snapshot.LocalRateLimit:
				live[f] = true
			}
		}
	})
	for f := range s.conns {
		if !live[f] {
			delete(s.conns, f)
		}
	}
	for f := range s.buckets {
		if !live[f] {
			delete(s.buckets, f)
		}
	}
}

func eachChain(s *snapshot.Snapshot, fn func(*snapshot.Chain)) {
	one := func(l *snapshot.Listener) {
		for _, c := range l.Chains {
			fn(c)
		}
		if l.Default != nil {
			fn(l.Default)
		}
	}
	for _, l := range s.Listeners {
		one(l)
	}
	for _, l := range s.Virtual {
		one(l)
	}
}
