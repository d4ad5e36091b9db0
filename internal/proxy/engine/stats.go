package engine

import "sync/atomic"

// workerStats are written by the worker and read by anyone.
type workerStats struct {
	turns, accepted, dialed, refused, panics atomic.Uint64
	conns                                    atomic.Int64
}

func (s *workerStats) turn() { s.turns.Store(s.turns.Load() + 1) } // one writer: no locked instruction

// Stats is what a worker has done since it started.
type Stats struct {
	Turns    uint64 // rounds of the loop
	Accepted uint64 // connections accepted for this worker
	Dialed   uint64 // connections it began to make
	Refused  uint64 // accepted and closed at once because of a limit
	Panics   uint64 // handlers that failed
	Conns    int64  // open now
}

// Stats may be called from any goroutine.
func (w *Worker) Stats() Stats {
	s := &w.stats
	return Stats{
		Turns: s.turns.Load(), Accepted: s.accepted.Load(), Dialed: s.dialed.Load(),
		Refused: s.refused.Load(), Panics: s.panics.Load(), Conns: s.conns.Load(),
	}
}
