package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Millis is a duration that is written as milliseconds in JSON.
type Millis time.Duration

// MarshalJSON writes milliseconds with three decimals.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Duration(m).Microseconds())/1000, 'f', -1, 64), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Millis) UnmarshalJSON(b []byte) error {
	var ms float64
	if err := json.Unmarshal(b, &ms); err != nil {
		return fmt.Errorf("read milliseconds: %w", err)
	}
	*m = micros(int64(math.Round(ms * 1000)))
	return nil
}

// String prints the duration with three significant digits.
func (m Millis) String() string {
	d := time.Duration(m)
	switch {
	case d == 0:
		return "0 ms"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// Result is what was measured. Times are milliseconds in JSON.
type Result struct {
	URL         string    `json:"url"`
	Method      string    `json:"method,omitempty"`
	Protocol    string    `json:"protocol"`
	Connections int       `json:"connections"`
	Streams     int       `json:"streamsPerConnection"`
	Started     time.Time `json:"started"`
	Elapsed     Millis    `json:"elapsedMs"`
	Interrupted bool      `json:"interrupted"` // ended by the caller before its time

	WantedRate float64 `json:"wantedRate"` // per second, 0 for a closed loop
	Rate       float64 `json:"rate"`       // requests answered or failed per second
	Requests   int64   `json:"requests"`   // answered or failed
	Failures   int64   `json:"failures"`   // errors, and answers that are neither 2xx nor 3xx
	Unsent     int64   `json:"unsent"`     // due in time, but all connections were busy
	Reconnects int64   `json:"reconnects"` // requests sent again because an idle connection had been closed
	Dials      int64   `json:"dials"`      // connections tried
	BytesIn    int64   `json:"bytesIn"`
	BytesOut   int64   `json:"bytesOut"`

	Codes  map[int]int64    `json:"codes"`                // answers by HTTP status
	GRPC   map[string]int64 `json:"grpcStatus,omitempty"` // answers by grpc-status
	Errors map[string]int64 `json:"errors"`               // requests without an answer, by kind

	GroupedBy string           `json:"groupedBy,omitempty"`
	Groups    map[string]Group `json:"groups,omitempty"`

	Latency   Summary  `json:"latency"`     // of answers, from the intended start
	Service   Summary  `json:"serviceTime"` // of answers, from the moment of sending
	Histogram []Bucket `json:"histogram"`   // of Latency
	Series    []Second `json:"series"`
}

// Summary describes a distribution of times.
type Summary struct {
	Count  int64  `json:"count"`
	Min    Millis `json:"minMs"`
	Mean   Millis `json:"meanMs"`
	StdDev Millis `json:"stdDevMs"`
	P50    Millis `json:"p50Ms"`
	P75    Millis `json:"p75Ms"`
	P90    Millis `json:"p90Ms"`
	P95    Millis `json:"p95Ms"`
	P99    Millis `json:"p99Ms"`
	P999   Millis `json:"p999Ms"`
	Max    Millis `json:"maxMs"`
}

// Group is the answers that had the same value in what Result.GroupedBy names.
type Group struct {
	Requests int64   `json:"requests"`
	Share    float64 `json:"share"` // of all answers, 0 to 1
	Failures int64   `json:"failures"`
	Latency  Summary `json:"latency"`
}

// Bucket is a line of the histogram: the answers that took more than the bucket
// before it and at most UpTo.
type Bucket struct {
	UpTo  Millis `json:"upToMs"`
	Count int64  `json:"count"`
}

// Second is a piece of the run, about a second long.
type Second struct {
	At       Millis `json:"atMs"` // offset from the start
	Length   Millis `json:"lengthMs"`
	Requests int64  `json:"requests"`
	Failed   int64  `json:"failed"`
	BytesIn  int64  `json:"bytesIn"`
	P50      Millis `json:"p50Ms"`
	P99      Millis `json:"p99Ms"`
	Max      Millis `json:"maxMs"`
}

// newResult adds everything up.
func newResult(p *plan, rec *recorder, s *schedule, start time.Time, elapsed time.Duration, series []Second, d *dialer, interrupted bool) *Result {
	m := rec.merged()
	r := &Result{
		URL: p.URL, Method: p.Method, Protocol: p.protocol(), Connections: p.Connections, Streams: p.Streams,
		Started: start, Elapsed: Millis(elapsed), Interrupted: interrupted,
		WantedRate: p.Rate, Rate: float64(m.total.requests) / max(elapsed.Seconds(), 1e-9),
		Requests: m.total.requests, Failures: m.total.failed, Unsent: s.unsent, Reconnects: m.total.retried,
		Dials: d.dials.Load(), BytesIn: d.in.Load(), BytesOut: d.out.Load(),
		Codes: m.codes, GRPC: m.grpc, Errors: m.kinds,
		Latency: summaryOf(m.latency), Service: summaryOf(m.service), Histogram: bucketsOf(m.latency), Series: series,
	}
	switch {
	case p.GroupByHeader != "":
		r.GroupedBy = p.GroupByHeader
	case p.GroupByBody != nil:
		r.GroupedBy = "body ~ " + p.GroupByBody.String()
	case len(m.groups) > 0:
		r.GroupedBy = "answer"
	}
	if r.GroupedBy != "" {
		r.Groups = make(map[string]Group, len(m.groups))
	}
	for key, g := range m.groups {
		r.Groups[key] = Group{
			Requests: g.requests, Failures: g.failed, Latency: summaryOf(g.latency),
			Share: float64(g.requests) / float64(max(r.Latency.Count, 1)),
		}
	}
	return r
}

func summaryOf(h *hdrhistogram.Histogram) Summary {
	if h.TotalCount() == 0 {
		return Summary{}
	}
	at := func(q float64) Millis { return micros(h.ValueAtQuantile(q)) }
	return Summary{
		Count: h.TotalCount(), Min: micros(h.Min()), Max: micros(h.Max()),
		Mean:   micros(int64(math.Round(h.Mean()))),
		StdDev: micros(int64(math.Round(h.StdDev()))),
		P50:    at(50), P75: at(75), P90: at(90), P95: at(95), P99: at(99), P999: at(99.9),
	}
}

// bucketsOf sorts a histogram into the steps 1, 2, 5, 10, 20, 50 … µs, from the
// first to the last that is not empty.
func bucketsOf(h *hdrhistogram.Histogram) []Bucket {
	var out []Bucket
	limit, step := int64(10), 0
	next := func() {
		limit = limit * []int64{2, 5, 2}[step%3] / []int64{1, 2, 1}[step%3]
		step++
	}
	var count int64
	for _, bar := range h.Distribution() {
		if bar.Count == 0 {
			continue
		}
		for bar.To > limit {
			if count > 0 || len(out) > 0 {
				out = append(out, Bucket{UpTo: micros(limit), Count: count})
			}
			count = 0
			next()
		}
		count += bar.Count
	}
	if count > 0 {
		out = append(out, Bucket{UpTo: micros(limit), Count: count})
	}
	return out
}

// Allowance is how many failures are acceptable: as many as the larger of its two
// fields permits. The zero value accepts none.
type Allowance struct {
	Count int64   // requests
	Share float64 // of all requests, 0 to 1
}

// ParseAllowance reads "12" (requests) or "0.5%" (of all requests).
func ParseAllowance(s string) (Allowance, error) {
	if pct, ok := strings.CutSuffix(s, "%"); ok {
		v, err := strconv.ParseFloat(pct, 64)
		if err != nil || !(v >= 0 && v <= 100) {
			return Allowance{}, fmt.Errorf("allowance %q is not a percentage between 0%% and 100%%", s)
		}
		return Allowance{Share: v / 100}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return Allowance{}, errors.New("allowance " + strconv.Quote(s) + " is neither a number of requests nor a percentage")
	}
	return Allowance{Count: n}, nil
}

// Failed reports whether more requests failed than a allows, or none was made at
// all: a run that measured nothing is no success.
func (r *Result) Failed(a Allowance) bool {
	if r.Requests == 0 {
		return true
	}
	return r.Failures > max(a.Count, int64(a.Share*float64(r.Requests)))
}
