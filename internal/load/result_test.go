package load

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestBucketsLoseNothing: every recorded time is in exactly one bucket, and the
// buckets' limits rise.
func TestBucketsLoseNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(1, int64(time.Hour/time.Microsecond)), 1, 50).Draw(t, "µs")
		h := newHist(histDigits)
		for _, us := range times {
			_ = h.RecordValue(us)
		}
		var n int64
		last := Millis(0)
		for _, b := range bucketsOf(h) {
			if b.UpTo <= last {
				t.Fatalf("limit %s after %s", b.UpTo, last)
			}
			last, n = b.UpTo, n+b.Count
		}
		if n != int64(len(times)) {
			t.Fatalf("%d in buckets, %d recorded", n, len(times))
		}
	})
}

// TestScheduleCount: the requests due within a duration are those, counted one
// by one, whose intended start is before its end.
func TestScheduleCount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &schedule{
			paced: true, rate: rapid.Float64Range(0.1, 5000).Draw(t, "rate"),
			duration: time.Duration(rapid.Int64Range(1, int64(2*time.Second)).Draw(t, "ns")),
		}
		var n int64
		for s.intended(n) < s.duration {
			n++
		}
		if got := s.dueWithin(); got != n {
			t.Fatalf("%d due, want %d", got, n)
		}
	})
}

func TestMillisText(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 ms", 850 * time.Microsecond: "850 µs", 1234 * time.Microsecond: "1.23 ms", 12340 * time.Microsecond: "12.3 ms",
		123 * time.Millisecond: "123 ms", 1234 * time.Millisecond: "1.23 s", 75 * time.Second: "75.0 s",
	} {
		if got := Millis(d).String(); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

func TestSummaryText(t *testing.T) {
	t.Parallel()
	ms := func(n float64) Millis { return Millis(n * float64(time.Millisecond)) }
	r := &Result{
		URL: "http://localhost:8080/productpage", Method: "GET", Protocol: "HTTP/1.1", Connections: 4, Streams: 1,
		Elapsed: ms(10000), WantedRate: 10, Rate: 10, Requests: 100, Failures: 3, Unsent: 1, Reconnects: 2,
		BytesIn: 512_000, BytesOut: 9_000, Codes: map[int]int64{200: 97, 503: 2}, Errors: map[string]int64{"timeout": 1},
		GroupedBy: "x-bookinfo-reviews", Groups: map[string]Group{
			"v1": {Requests: 89, Latency: Summary{P50: ms(2), P99: ms(9)}},
			"v3": {Requests: 10, Failures: 2, Latency: Summary{P50: ms(3), P99: ms(11)}},
		},
		Latency:   Summary{Count: 99, Min: ms(1), Mean: ms(2.5), P50: ms(2), P75: ms(3), P90: ms(4), P95: ms(5), P99: ms(11), P999: ms(12), Max: ms(12)},
		Service:   Summary{Count: 99, Min: ms(1), Mean: ms(2), P50: ms(1.5), P75: ms(2), P90: ms(3), P95: ms(4), P99: ms(10), P999: ms(11), Max: ms(11)},
		Histogram: []Bucket{{ms(2), 60}, {ms(5), 38}, {ms(10), 0}, {ms(20), 1}},
	}
	const want = `GET http://localhost:8080/productpage
HTTP/1.1, 4 connections, 10 requests/s wanted

  requests          100   in 10.0 s, 10.0/s
  succeeded          97   97.00%
  failed              3   3.00%
  received     512.0 kB   51.2 kB/s
  sent           9.0 kB   900 B/s

Latency    from the intended    from the moment
                start              of sending
  min           1.00 ms            1.00 ms
  mean          2.50 ms            2.00 ms
  p50           2.00 ms            1.50 ms
  p75           3.00 ms            2.00 ms
  p90           4.00 ms            3.00 ms
  p95           5.00 ms            4.00 ms
  p99           11.0 ms            10.0 ms
  p99.9         12.0 ms            11.0 ms
  max           12.0 ms            11.0 ms

Histogram
  up to     2 ms  ########################################        60  60.61%
  up to     5 ms  #########################                       38  38.38%
  up to    10 ms                                                   0   0.00%
  up to    20 ms  #                                                1   1.01%

Status
  200 OK                                  97  97.00%
  503 Service Unavailable                  2   2.00%

Errors
  timeout                                  1   1.00%

x-bookinfo-reviews                   answers   share   failed       p50       p99
  v1                                      89  89.90%        0   2.00 ms   9.00 ms
  v3                                      10  10.10%        2   3.00 ms   11.0 ms

note: 1 request due in time could not be sent: all connections were busy. The target is slower than the wanted rate, or needs more connections
note: 2 requests sent again, since the target had closed the idle connection
`
	var b strings.Builder
	if err := r.Fprint(&b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
