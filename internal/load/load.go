// Package load sends measured load to one address and says what came back: the
// engine of `meshctl load`.
//
//	res, err := load.Run(ctx, load.Options{URL: "http://localhost:8080/productpage", Rate: 200, Duration: 10 * time.Second})
//	res.Fprint(os.Stdout)                          // or json.Marshal(res)
//	if res.Failed(load.Allowance{}) { ... }        // exit code
//
// How it measures:
//
//  1. With a Rate the start of every request is fixed beforehand (start + n/rate)
//     and latency counts from that moment, also when no connection was free then.
//     A target that stalls is therefore charged for all requests that should have
//     been sent meanwhile (no coordinated omission). Service time, from the first
//     byte sent, is kept beside it. Without a Rate each connection sends its next
//     request when the last one is answered, and both times are the same.
//  2. Each connection is one goroutine that writes prepared bytes and parses the
//     answer itself; HTTP/2 and gRPC connections carry several streams.
//  3. Redirects are not followed and failed requests are not sent again, with one
//     exception: a kept-alive connection that the other side closed before it
//     answered one byte of an idempotent request is replaced once (Reconnects).
//
// Schemes: http, https, tcp (lines and their echo), grpc and grpcs (the standard
// health check). Run stops by itself: rate, connections, duration, requests and
// sizes all have hard limits (Max…), and cancelling ctx ends it at once with the
// result so far. Connections are made by Options.Dial, so that the load can come
// from inside of a mesh's network.
package load

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// client sends requests one after the other; one goroutine uses it.
type client interface {
	// do sends one request, reads the whole answer and says what came of it.
	do(ctx context.Context) outcome
	// close gives up what the client holds open.
	close()
}

// outcome is what came of one request.
type outcome struct {
	code    int    // HTTP status; 0 for TCP, and when err is set
	grpc    string // grpc-status, "" where there is none
	group   string // what Options.GroupByHeader or GroupByBody found
	in      int64  // bytes read of the answer; not known for HTTP/2
	err     error
	retried bool // sent again on a new connection
}

// Run sends the load that o describes and returns what was measured. It returns
// an error only when o is invalid; everything that happens to requests is in the
// Result. When ctx ends, requests under way are dropped and not counted.
func Run(ctx context.Context, o Options) (*Result, error) {
	p, err := o.plan()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	d := newDialer(p)
	defer context.AfterFunc(ctx, d.closeAll)()
	rec := newRecorder(p)
	sched := newSchedule(p)

	start := time.Now()
	stopSeries := rec.follow(start, &d.in, o.Progress)
	var wg sync.WaitGroup
	wg.Go(func() { sched.run(ctx, start) })
	for i, c := range p.clients(d) {
		wg.Go(func() {
			defer c.close()
			work(ctx, c, sched, rec.shard(i), start)
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	series := stopSeries()
	return newResult(p, rec, sched, start, elapsed, series, d, ctx.Err() != nil), nil
}

// work sends requests on c as the schedule gives them out.
func work(ctx context.Context, c client, s *schedule, rec *shard, start time.Time) {
	for {
		intended, ok := s.next(ctx)
		if !ok {
			return
		}
		sent := time.Since(start)
		out := c.do(ctx)
		done := time.Since(start)
		if out.err != nil && ctx.Err() != nil {
			return // we closed the connection ourselves
		}
		if !s.paced {
			intended = sent
		}
		// A request may go out some microseconds early: never less than it took.
		rec.add(out, max(done-intended, done-sent), done-sent)
		if out.err != nil && !s.paced && !pause(ctx, failurePause) {
			return
		}
	}
}

// failurePause keeps a closed loop from spinning on a target that refuses.
const failurePause = 20 * time.Millisecond

// pause reports whether d passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
