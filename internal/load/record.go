package load

import (
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are recorded in microseconds, from 1 µs to 25 h, which is longer than
// any run: nothing measured is lost.
const (
	histLowest  = 1
	histHighest = int64(25 * time.Hour / time.Microsecond)
	histDigits  = 3
	roughDigits = 2 // for groups and seconds, of which there are many
	maxGroups   = 64
	maxKinds    = 64
	maxGroupKey = 96
)

// Names for what has none of its own.
const (
	groupNone  = "(none)"
	groupOther = "(others)"
)

// recorder collects outcomes. It is split so that workers rarely wait for each
// other, and not once per worker, since a histogram takes hundreds of kilobytes.
type recorder struct {
	grouped bool
	shards  []*shard
}

// counts is what is added up of a number of requests.
type counts struct {
	requests, failed, retried int64
}

// shard is the part of the recorder that some of the workers share.
type shard struct {
	grouped bool

	mu      sync.Mutex
	total   counts
	codes   map[int]int64
	grpc    map[string]int64
	kinds   map[string]int64
	groups  map[string]*groupCount
	latency *hdrhistogram.Histogram
	service *hdrhistogram.Histogram

	second     counts // since the series was last asked
	secondHist *hdrhistogram.Histogram
}

type groupCount struct {
	requests, failed int64
	latency          *hdrhistogram.Histogram
}

func newHist(digits int) *hdrhistogram.Histogram {
	return hdrhistogram.New(histLowest, histHighest, digits)
}

func newRecorder(p *plan) *recorder {
	r := &recorder{grouped: p.GroupByHeader != "" || p.GroupByBody != nil}
	for range min(p.workers(), 2*runtime.GOMAXPROCS(0)) {
		r.shards = append(r.shards, &shard{
			grouped: r.grouped,
			codes:   map[int]int64{}, grpc: map[string]int64{}, kinds: map[string]int64{}, groups: map[string]*groupCount{},
			latency: newHist(histDigits), service: newHist(histDigits), secondHist: newHist(roughDigits),
		})
	}
	return r
}

// shard returns the shard of worker i.
func (r *recorder) shard(i int) *shard { return r.shards[i%len(r.shards)] }

// failed reports whether an outcome counts against the target: no answer, or one
// that is neither 2xx nor 3xx, or a gRPC status that is not 0.
func (o outcome) failed() bool {
	switch {
	case o.err != nil:
		return true
	case o.grpc != "" && o.grpc != "0":
		return true
	}
	return o.code != 0 && (o.code < 200 || o.code > 399)
}

// add records one request. Times are only kept of requests that were answered:
// those of refused connections would flatter the target.
func (s *shard) add(o outcome, latency, service time.Duration) {
	n := counts{requests: 1}
	if o.failed() {
		n.failed = 1
	}
	if o.retried {
		n.retried = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.add(n)
	s.second.add(n)
	if o.err != nil {
		bump(s.kinds, kindOf(o.err), maxKinds, groupOther)
		return
	}
	if o.code != 0 {
		s.codes[o.code]++
	}
	if o.grpc != "" {
		bump(s.grpc, o.grpc, maxKinds, groupOther)
	}
	us := clampMicros(latency)
	_ = s.latency.RecordValue(us) // clamped: cannot be out of range
	_ = s.service.RecordValue(clampMicros(service))
	_ = s.secondHist.RecordValue(us)
	if s.grouped || o.group != "" {
		g := s.group(o.group)
		g.requests++
		g.failed += n.failed
		_ = g.latency.RecordValue(us)
	}
}

func (s *shard) group(key string) *groupCount {
	switch {
	case key == "":
		key = groupNone
	case len(key) > maxGroupKey:
		key = key[:maxGroupKey]
	}
	g := s.groups[key]
	if g == nil && len(s.groups) >= maxGroups {
		key = groupOther
		g = s.groups[key]
	}
	if g == nil {
		g = &groupCount{latency: newHist(roughDigits)}
		s.groups[key] = g
	}
	return g
}

func (c *counts) add(d counts) {
	c.requests += d.requests
	c.failed += d.failed
	c.retried += d.retried
}

// bump counts key, or other when there are too many keys already.
func bump(m map[string]int64, key string, limit int, other string) {
	if _, known := m[key]; !known && len(m) >= limit {
		key = other
	}
	m[key]++
}

func clampMicros(d time.Duration) int64 {
	return min(max(d.Microseconds(), histLowest), histHighest)
}

// merged adds all shards up; called when the workers have ended.
func (r *recorder) merged() *shard {
	sum := r.shards[0]
	for _, s := range r.shards[1:] {
		sum.total.add(s.total)
		for code, n := range s.codes {
			sum.codes[code] += n
		}
		for k, n := range s.grpc {
			sum.grpc[k] += n
		}
		for k, n := range s.kinds {
			sum.kinds[k] += n
		}
		sum.latency.Merge(s.latency)
		sum.service.Merge(s.service)
		for _, key := range slices.Sorted(maps.Keys(s.groups)) {
			g, into := s.groups[key], sum.group(key)
			into.requests += g.requests
			into.failed += g.failed
			into.latency.Merge(g.latency)
		}
	}
	return sum
}

// follow collects one Second after the other until the returned function is
// called, which returns all of them. bytesIn is the running total of bytes read.
func (r *recorder) follow(start time.Time, bytesIn *atomic.Int64, progress func(Second)) (stop func() []Second) {
	quit, done := make(chan struct{}), make(chan struct{})
	var series []Second
	last, lastIn := time.Duration(0), int64(0)
	take := func() {
		now, in := time.Since(start), bytesIn.Load()
		s := r.takeSecond()
		s.At, s.Length, s.BytesIn = Millis(last), Millis(now-last), in-lastIn
		last, lastIn = now, in
		series = append(series, s)
		if progress != nil {
			progress(s)
		}
	}
	go func() {
		defer close(done)
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				take()
			case <-quit:
				take()
				return
			}
		}
	}()
	return func() []Second {
		close(quit)
		<-done
		return series
	}
}

// takeSecond returns what happened since it was last called.
func (r *recorder) takeSecond() Second {
	var sum counts
	hist := newHist(roughDigits)
	for _, s := range r.shards {
		s.mu.Lock()
		sum.add(s.second)
		s.second = counts{}
		hist.Merge(s.secondHist)
		s.secondHist.Reset()
		s.mu.Unlock()
	}
	return Second{
		Requests: sum.requests, Failed: sum.failed,
		P50: micros(hist.ValueAtQuantile(50)), P99: micros(hist.ValueAtQuantile(99)), Max: micros(hist.Max()),
	}
}

func micros(us int64) Millis { return Millis(time.Duration(us) * time.Microsecond) }
