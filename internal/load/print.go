package load

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/plural"
)

// barWidth is the length of the longest bar of the histogram.
const barWidth = 40

// Fprint writes the summary for people. It is plain text in at most about 90
// columns; the same figures for programs are in the Result's JSON.
func (r *Result) Fprint(w io.Writer) error {
	p := &printer{w: w}
	r.printHead(p)
	r.printLatency(p)
	r.printHistogram(p)
	r.printCodes(p)
	r.printGroups(p)
	r.printNotes(p)
	return p.err
}

// printer remembers the first error of many writes.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
}

func (r *Result) printHead(p *printer) {
	p.line("%s", strings.TrimSpace(r.Method+" "+r.URL))
	how := r.Protocol + ", " + plural.Of(r.Connections, "connection")
	if r.Streams > 1 {
		how += " of " + plural.Of(r.Streams, "stream")
	}
	if r.WantedRate > 0 {
		how += fmt.Sprintf(", %s requests/s wanted", trimFloat(r.WantedRate))
	} else {
		how += ", as fast as answers come"
	}
	p.line("%s", how)
	p.line("")
	p.line("  requests   %10d   in %s, %.1f/s", r.Requests, r.Elapsed, r.Rate)
	p.line("  succeeded  %10d   %s", r.Requests-r.Failures, percent(r.Requests-r.Failures, r.Requests))
	p.line("  failed     %10d   %s", r.Failures, percent(r.Failures, r.Requests))
	secs := max(time.Duration(r.Elapsed).Seconds(), 1e-9)
	p.line("  received   %10s   %s/s", bytesText(float64(r.BytesIn)), bytesText(float64(r.BytesIn)/secs))
	p.line("  sent       %10s   %s/s", bytesText(float64(r.BytesOut)), bytesText(float64(r.BytesOut)/secs))
}

func (r *Result) printLatency(p *printer) {
	if r.Latency.Count == 0 {
		return
	}
	p.line("")
	l, s := r.Latency, r.Service
	rows := []struct {
		name string
		l, s Millis
	}{
		{"min", l.Min, s.Min},
		{"mean", l.Mean, s.Mean},
		{"p50", l.P50, s.P50},
		{"p75", l.P75, s.P75},
		{"p90", l.P90, s.P90},
		{"p95", l.P95, s.P95},
		{"p99", l.P99, s.P99},
		{"p99.9", l.P999, s.P999},
		{"max", l.Max, s.Max},
	}
	if r.WantedRate == 0 {
		p.line("Latency")
		for _, row := range rows {
			p.line("  %-6s %10s", row.name, row.l)
		}
		return
	}
	p.line("Latency    from the intended    from the moment")
	p.line("                start              of sending")
	for _, row := range rows {
		p.line("  %-6s %14s %18s", row.name, row.l, row.s)
	}
}

func (r *Result) printHistogram(p *printer) {
	if len(r.Histogram) == 0 {
		return
	}
	most := slices.MaxFunc(r.Histogram, func(a, b Bucket) int { return cmp.Compare(a.Count, b.Count) }).Count
	p.line("")
	p.line("Histogram")
	for _, b := range r.Histogram {
		n := int(b.Count * barWidth / most)
		if n == 0 && b.Count > 0 {
			n = 1
		}
		p.line("  up to %8s  %-*s %9d  %6s", roundText(b.UpTo), barWidth, strings.Repeat("#", n), b.Count, percent(b.Count, r.Latency.Count))
	}
}

func (r *Result) printCodes(p *printer) {
	if len(r.Codes) > 0 {
		p.line("")
		p.line("Status")
		for _, code := range slices.Sorted(maps.Keys(r.Codes)) {
			p.line("  %d %-28s %9d  %6s", code, http.StatusText(code), r.Codes[code], percent(r.Codes[code], r.Requests))
		}
	}
	printCounts(p, "gRPC status", r.GRPC, r.Requests)
	printCounts(p, "Errors", r.Errors, r.Requests)
}

// printCounts lists m, most frequent first.
func printCounts(p *printer, title string, m map[string]int64, of int64) {
	if len(m) == 0 {
		return
	}
	p.line("")
	p.line("%s", title)
	for _, k := range byCount(m) {
		p.line("  %-32s %9d  %6s", k, m[k], percent(m[k], of))
	}
}

func (r *Result) printGroups(p *printer) {
	if r.GroupedBy == "" {
		return
	}
	sizes := map[string]int64{}
	for k, g := range r.Groups {
		sizes[k] = g.Requests
	}
	p.line("")
	p.line("%-34s %9s  %6s  %7s %9s %9s", r.GroupedBy, "answers", "share", "failed", "p50", "p99")
	for _, k := range byCount(sizes) {
		g := r.Groups[k]
		p.line("  %-32s %9d  %6s  %7d %9s %9s", k, g.Requests, percent(g.Requests, r.Latency.Count), g.Failures, g.Latency.P50, g.Latency.P99)
	}
}

func (r *Result) printNotes(p *printer) {
	var notes []string
	if r.Interrupted {
		notes = append(notes, "stopped before its time; requests under way are not counted")
	}
	if r.Unsent > 0 {
		notes = append(notes, fmt.Sprintf("%s due in time could not be sent: all connections were busy. "+
			"The target is slower than the wanted rate, or needs more connections", plural.Of(r.Unsent, "request")))
	}
	if r.Reconnects > 0 {
		notes = append(notes, plural.Of(r.Reconnects, "request")+" sent again, since the target had closed the idle connection")
	}
	if len(notes) == 0 {
		return
	}
	p.line("")
	for _, n := range notes {
		p.line("note: %s", n)
	}
}

// byCount returns the keys of m, largest count first, then by name.
func byCount(m map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
}

func percent(n, of int64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f%%", 100*float64(n)/float64(of))
}

func trimFloat(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// roundText prints the round numbers of the histogram's steps.
func roundText(m Millis) string {
	d := time.Duration(m)
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%d s", int64(d.Seconds()))
}

func bytesText(b float64) string {
	switch {
	case b < 1e3:
		return fmt.Sprintf("%.0f B", b)
	case b < 1e6:
		return fmt.Sprintf("%.1f kB", b/1e3)
	case b < 1e9:
		return fmt.Sprintf("%.1f MB", b/1e6)
	}
	return fmt.Sprintf("%.1f GB", b/1e9)
}
