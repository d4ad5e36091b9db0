package agent

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Bounds of the trimmer.
const (
	trimPeriod = time.Second
	trimWaste  = 1 << 20   // bytes worth a collection
	trimCalm   = 256 << 10 // bytes allocated in a period that still count as rest
)

// trimMemory gives memory back after a burst. Requests allocate nothing, so what a
// configuration or a thousand handshakes leave behind would stay resident until a
// collection that does not come: the heap is far from its goal, and the runtime
// collects unasked every two minutes only, and returns pages slower than that.
func trimMemory(ctx context.Context) error {
	tick := time.NewTicker(trimPeriod)
	defer tick.Stop()
	last := readHeap()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now := readHeap()
		if now.worthTrimming(last) {
			debug.FreeOSMemory()
		}
		last = now
	}
}

// heap is what the runtime says of its heap, in bytes.
type heap struct {
	live      uint64 // in use at the end of the last collection
	objects   uint64 // in use, and dead but not collected
	free      uint64 // not in use, and not given back
	allocated uint64 // since the process began
}

// worthTrimming reports whether much could be given back and nothing goes on that
// would need it again at once.
func (h heap) worthTrimming(before heap) bool {
	waste := h.free
	if h.objects > h.live {
		waste += h.objects - h.live
	}
	return h.allocated-before.allocated < trimCalm && waste > max(trimWaste, h.live/8)
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
	}
	metrics.Read(s)
	return heap{live: s[0].Value.Uint64(), objects: s[1].Value.Uint64(), free: s[2].Value.Uint64(), allocated: s[3].Value.Uint64()}
}
