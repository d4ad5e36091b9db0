package stats

import (
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Query says what /stats shows.
type Query struct {
	Used   bool           // only what was used: not zero
	Filter *regexp.Regexp // matched against the dotted name; nil: all
}

// entry is one value under its dotted name.
type entry struct {
	name string
	kind Kind
	v    int64
	text string
	hist counts
}

// entries collects what a query shows, sorted by name; histograms last.
func (r *Registry) entries(q Query) []entry {
	var out []entry
	r.Visit(false, func(f *Family) {
		for i := range f.Points {
			p := &f.Points[i]
			e := entry{kind: f.Kind, v: p.Value, text: p.Text}
			switch {
			case f.Suffix != "":
				e.name = p.Prefix + "." + f.Suffix
			case strings.HasPrefix(f.Name, "istio_"):
				e.name = istioName(f.Name, p.Labels)
			default:
				continue
			}
			if p.Hist != nil {
				e.hist = *p.Hist
			}
			if q.Used && !e.used() || q.Filter != nil && !q.Filter.MatchString(e.name) {
				continue
			}
			out = append(out, e)
		}
	})
	slices.SortFunc(out, func(a, b entry) int {
		if (a.kind == Histogram) != (b.kind == Histogram) {
			if a.kind == Histogram {
				return 1
			}
			return -1
		}
		return strings.Compare(a.name, b.name)
	})
	return out
}

// used follows Envoy: a gauge that was set counts as used though it is zero.
func (e *entry) used() bool {
	switch e.kind {
	case Histogram:
		return e.hist.count() > 0
	case Counter:
		return e.v != 0
	default:
		return true
	}
}

// istioName is a metric with labels as one dotted name, the way Istio's Envoy
// shows it: istiocustom.istio_requests_total.reporter.source....
func istioName(name, labels string) string {
	var b strings.Builder
	b.WriteString("istiocustom." + name)
	for labels != "" {
		k, rest, ok := strings.Cut(labels, `="`)
		if !ok {
			break
		}
		end := 0
		for end < len(rest) && rest[end] != '"' {
			if rest[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end, len(rest))
		b.WriteString("." + k + "." + rest[:end])
		labels = strings.TrimPrefix(rest[min(end+1, len(rest)):], ",")
	}
	return b.String()
}

// WriteText writes Envoy's plain form, name: value.
func (r *Registry) WriteText(w io.Writer, q Query) error {
	b := buffer{w: w}
	for _, e := range r.entries(q) {
		b.b = append(append(b.b, e.name...), ": "...)
		switch e.kind {
		case Text:
			b.b = strconv.AppendQuote(b.b, e.text)
		case Histogram:
			b.b = e.hist.appendQuantiles(b.b)
		default:
			b.b = strconv.AppendInt(b.b, e.v, 10)
		}
		if b.b = append(b.b, '\n'); len(b.b) >= piece {
			b.put()
		}
	}
	return b.flush()
}

// quantiles are those that Envoy shows.
var quantiles = [...]float64{0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100}

// quantile estimates by linear interpolation within a bucket.
func (c *counts) quantile(q float64) float64 {
	total := c.count()
	if total == 0 {
		return 0
	}
	want, seen, low := q/100*float64(total), 0.0, 0.0
	for i, n := range c.buckets {
		if i == len(bounds) {
			return low // beyond the last bound nothing is known
		}
		high := float64(bounds[i]) / 1000
		if n > 0 && seen+float64(n) >= want {
			return low + (high-low)*max(0, want-seen)/float64(n)
		}
		seen, low = seen+float64(n), high
	}
	return low
}

func (c *counts) appendQuantiles(dst []byte) []byte {
	if c.count() == 0 {
		return append(dst, "No recorded values"...)
	}
	for i, q := range quantiles {
		if i > 0 {
			dst = append(dst, ' ')
		}
		v := strconv.FormatFloat(c.quantile(q), 'g', 4, 64)
		dst = append(dst, 'P')
		dst = append(strconv.AppendFloat(dst, q, 'g', -1, 64), '(')
		dst = append(append(append(append(dst, v...), ','), v...), ')')
	}
	return dst
}

// WriteJSON writes Envoy's form format=json.
func (r *Registry) WriteJSON(w io.Writer, q Query) error {
	b := buffer{w: w}
	b.b = append(b.b, `{"stats":[`...)
	first := true
	var hists []entry
	for _, e := range r.entries(q) {
		if e.kind == Histogram {
			hists = append(hists, e)
			continue
		}
		if !first {
			b.b = append(b.b, ',')
		}
		first = false
		b.b = append(appendJSONString(append(b.b, `{"name":`...), e.name), `,"value":`...)
		if e.kind == Text {
			b.b = appendJSONString(b.b, e.text)
		} else {
			b.b = strconv.AppendInt(b.b, e.v, 10)
		}
		if b.b = append(b.b, '}'); len(b.b) >= piece {
			b.put()
		}
	}
	if len(hists) > 0 {
		if !first {
			b.b = append(b.b, ',')
		}
		b.b = appendHistograms(b.b, hists)
	}
	b.b = append(b.b, "]}\n"...)
	return b.flush()
}

func appendHistograms(dst []byte, hists []entry) []byte {
	dst = append(dst, `{"histograms":{"supported_quantiles":[`...)
	for i, q := range quantiles {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendFloat(dst, q, 'g', -1, 64)
	}
	dst = append(dst, `],"computed_quantiles":[`...)
	for i := range hists {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendJSONString(append(dst, `{"name":`...), hists[i].name), `,"values":[`...)
		for j, q := range quantiles {
			if j > 0 {
				dst = append(dst, ',')
			}
			v := strconv.FormatFloat(hists[i].hist.quantile(q), 'f', -1, 64)
			dst = append(append(append(append(append(dst, `{"interval":`...), v...), `,"cumulative":`...), v...), '}')
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, "]}}"...)
}

func appendJSONString(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // a string always can
		return append(dst, `""`...)
	}
	return append(dst, b...)
}
