package stats

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Worker holds the counters of one worker. It is a flow.Recorder, and a
// tcp.Reporter: what it is told goes to Envoy's http.* and tcp.* and, for TCP
// chains that ask for it, to Istio's metrics. HTTP requests get to Istio's
// metrics by the filter (package istiostats), which calls Request.
type Worker struct {
	reg *Registry

	// Of the worker alone.
	hot    map[key]*series
	hosts  map[string]string // interned labels that come from requests
	buf    []byte
	opened map[*flow.Record]bool // TCP connections begun; true: counted
	plans  map[*snapshot.IstioStats]*Plan
	https  map[chainKey]*httpSeries
	tcps   map[*snapshot.TCPProxy]*tcpSeries

	mu     sync.Mutex // the worker takes it only for a new series
	series map[string]*series
	http   map[string]*httpSeries
	tcp    map[string]*tcpSeries
}

// series are the counters of one combination of labels.
type series struct {
	plan  *Plan
	texts [numMetrics]string
	// http is nil for TCP.
	http *[3]histogram // duration, request and response bytes; the first counts the requests
	n    [numMetrics]atomic.Uint64
	dead atomic.Bool // forgotten by the sweep

	// Of the sweep, under the worker's mu.
	seen    uint64
	changed time.Time
}

// total changes with every use.
func (s *series) total() uint64 {
	var t uint64
	if s.http != nil {
		t = s.http[0].count()
	}
	for i := range s.n {
		t += s.n[i].Load()
	}
	return t
}

// Worker makes the counters of a worker.
func (r *Registry) Worker() *Worker {
	w := &Worker{
		reg: r, hot: map[key]*series{}, hosts: map[string]string{}, opened: map[*flow.Record]bool{},
		plans: map[*snapshot.IstioStats]*Plan{}, https: map[chainKey]*httpSeries{}, tcps: map[*snapshot.TCPProxy]*tcpSeries{},
		series: map[string]*series{}, http: map[string]*httpSeries{}, tcp: map[string]*tcpSeries{},
	}
	r.mu.Lock()
	r.workers = append(r.workers, w)
	r.mu.Unlock()
	return w
}

// Request counts a finished HTTP request in Istio's metrics.
func (w *Worker) Request(p *Plan, r *flow.Record) {
	s := w.find(p, r)
	h := s.http
	h[0].observe(uint64(max(r.End, 0) / time.Microsecond))
	h[1].observe((r.BytesReceived + r.ReqHeaderBytes) * 1000)
	h[2].observe((r.BytesSent + r.RespHeaderBytes + r.RespTrailerBytes) * 1000)
	if r.RequestMessages > 0 {
		s.n[requestMessages].Add(r.RequestMessages)
	}
	if r.ResponseMessages > 0 {
		s.n[responseMessages].Add(r.ResponseMessages)
	}
}

// find gives the series of a record's labels.
func (w *Worker) find(p *Plan, r *flow.Record) *series {
	k := keyOf(p, r)
	if !named(k.cluster) && k.proto != protocolTCP {
		w.buf = appendHost(w.buf[:0], p, r)
		k.host = w.intern(w.buf)
	}
	if len(p.dims) > 0 {
		w.buf = p.extra(w.buf[:0], r)
		k.extra = w.intern(w.buf)
	}
	s := w.hot[k]
	if s == nil || s.dead.Load() {
		s = w.bind(&k)
	}
	return s
}

// maxInterned bounds the texts of requests that a worker remembers.
const maxInterned = 4096

func (w *Worker) intern(b []byte) string {
	if s, ok := w.hosts[string(b)]; ok {
		return s
	}
	if len(w.hosts) >= maxInterned {
		clear(w.hosts)
	}
	s := string(b)
	w.hosts[s] = s
	return s
}

// bind finds or makes the series of a key that is new, and remembers it.
func (w *Worker) bind(k *key) *series {
	own := *k
	own.downID, own.upID, own.name = strings.Clone(k.downID), strings.Clone(k.upID), strings.Clone(k.name)
	var extra []string
	if k.extra != "" {
		extra = strings.Split(strings.TrimSuffix(k.extra, string([]byte{extraSep})), string([]byte{extraSep}))
	}
	s := w.seriesOf(k.plan, k.labels(w.reg.o.Local, w.reg.principal()), extra, k.proto == protocolTCP)
	if len(w.hot) >= 4*w.reg.o.MaxSeries {
		clear(w.hot)
	}
	w.hot[own] = s
	return s
}

// seriesOf finds or makes the series of these labels. When there are too many
// already it is the one whose labels are all "other".
func (w *Worker) seriesOf(p *Plan, v *values, extra []string, tcp bool) *series {
	s := newSeries(p, v, extra, tcp)
	id := s.id()
	w.mu.Lock()
	defer w.mu.Unlock()
	if have := w.series[id]; have != nil {
		return have
	}
	if len(w.series) >= w.reg.o.MaxSeries {
		reporter := v[dimReporter]
		for d := range v {
			v[d] = "other"
		}
		v[dimReporter] = reporter
		other := make([]string, len(extra))
		for i := range other {
			other[i] = "other"
		}
		s = newSeries(p, v, other, tcp)
		if id = s.id(); w.series[id] != nil {
			return w.series[id]
		}
	}
	s.changed = w.reg.o.Now()
	w.series[id] = s
	return s
}

func newSeries(p *Plan, v *values, extra []string, tcp bool) *series {
	s := &series{plan: p}
	if !tcp {
		s.http = &[3]histogram{}
	}
	var first string
	for m := range numMetrics {
		if m.tcp() != tcp || p.dropped[m] {
			continue
		}
		if !p.same || first == "" {
			first = string(p.text(nil, m, v, extra))
		}
		s.texts[m] = first
	}
	return s
}

// id tells series apart by what they are printed as, so that equal labels meet
// in one series whatever peers and clusters they came from.
func (s *series) id() string {
	var b strings.Builder
	for m, t := range s.texts {
		if m > 0 && t == s.texts[m-1] {
			b.WriteByte('=')
		} else {
			b.WriteString(t)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// sweep forgets series that have not changed for idle.
func (w *Worker) sweep(now time.Time, idle time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, s := range w.series {
		if t := s.total(); t != s.seen {
			s.seen, s.changed = t, now
		} else if now.Sub(s.changed) >= idle {
			// A request at this very moment may still count here: one use lost after
			// an hour of none.
			s.dead.Store(true)
			delete(w.series, id)
		}
	}
}
