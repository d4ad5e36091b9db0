package stats

import (
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/flow"
)

// Options configure a Registry. Zero fields mean the default.
type Options struct {
	// Local is the workload this proxy belongs to.
	Local *flow.Peer
	// Principal is its SPIFFE ID as labels have it; may be nil.
	Principal func() string
	// Version is the tag of istio_build.
	Version string
	// MaxSeries bounds the label combinations of a worker, default 10,000.
	MaxSeries int
	// IdleExpiry is after how long an unused combination is forgotten, default 1 h.
	IdleExpiry time.Duration
	Now        func() time.Time // default time.Now
	Logger     *slog.Logger     // default discards
}

// Registry holds the counters of the process. Its methods may be called from any
// goroutine.
type Registry struct {
	o       Options
	mu      sync.Mutex
	workers []*Worker
	sources []Source
}

// New makes a registry.
func New(o Options) *Registry {
	if o.Local == nil {
		o.Local = &flow.Peer{}
	}
	if o.MaxSeries <= 0 {
		o.MaxSeries = 10_000
	}
	if o.IdleExpiry <= 0 {
		o.IdleExpiry = time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registry{o: o}
}

func (r *Registry) principal() string {
	if r.o.Principal == nil {
		return ""
	}
	return r.o.Principal()
}

// Add adds sources, to be shown after what is there.
func (r *Registry) Add(s ...Source) {
	r.mu.Lock()
	r.sources = append(r.sources, s...)
	r.mu.Unlock()
}

func (r *Registry) all() ([]*Worker, []Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.workers), slices.Clone(r.sources)
}

// WriteMetrics writes everything that was used as Prometheus text (version 0.0.4).
func (r *Registry) WriteMetrics(w io.Writer) error {
	b := buffer{w: w}
	r.Visit(true, func(f *Family) { b.family(f) })
	return b.flush()
}

// Visit calls yield for each family: Istio's, then Envoy's. Families are valid
// during the call only. used leaves out what was never used.
func (r *Registry) Visit(used bool, yield func(*Family)) {
	workers, sources := r.all()
	now := r.o.Now()
	for _, w := range workers {
		w.sweep(now, r.o.IdleExpiry)
	}
	r.visitIstio(workers, yield)
	visitHTTP(workers, yield)
	for _, s := range sources {
		s.Families(used, yield)
	}
}

// visitIstio adds the workers up, metric by metric.
func (r *Registry) visitIstio(workers []*Worker, yield func(*Family)) {
	var all []*series
	for _, w := range workers {
		w.mu.Lock()
		for _, s := range w.series {
			all = append(all, s)
		}
		w.mu.Unlock()
	}
	for m := range numMetrics {
		sums := map[string]*Point{}
		for _, s := range all {
			t := s.texts[m]
			if t == "" {
				continue
			}
			p := sums[t]
			if p == nil {
				p = &Point{Labels: t}
				if m.histogram() {
					p.Hist = &counts{}
				}
				sums[t] = p
			}
			switch {
			case m == requestsTotal:
				p.Value += int64(s.http[0].count())
			case m.histogram():
				p.Hist.add(&s.http[m-requestDuration])
			default:
				p.Value += int64(s.n[m].Load())
			}
		}
		f := &Family{Name: "istio_" + metricNames[m], Kind: Counter}
		if m.histogram() {
			f.Kind = Histogram
		}
		for _, p := range sums {
			if p.Value == 0 && (m == requestMessages || m == responseMessages) {
				continue
			}
			f.Points = append(f.Points, *p)
		}
		slices.SortFunc(f.Points, func(a, b Point) int { return strings.Compare(a.Labels, b.Labels) })
		if len(f.Points) > 0 {
			yield(f)
		}
	}
	build := string(appendLabel(appendLabel(nil, "component", "proxy"), "tag", r.o.Version))
	yield(&Family{Name: "istio_build", Kind: Gauge, Points: []Point{{Labels: build, Value: 1}}})
}

// Tee hands records to several recorders in turn, and reports of TCP connections
// to those that take them.
type Tee []flow.Recorder

type reporter interface {
	Opened(r *flow.Record)
	Progress(r *flow.Record, received, sent uint64)
}

// Done implements flow.Recorder.
func (t Tee) Done(r *flow.Record) {
	for _, x := range t {
		x.Done(r)
	}
}

// Opened implements tcp.Reporter.
func (t Tee) Opened(r *flow.Record) {
	for _, x := range t {
		if p, ok := x.(reporter); ok {
			p.Opened(r)
		}
	}
}

// Progress implements tcp.Reporter.
func (t Tee) Progress(r *flow.Record, received, sent uint64) {
	for _, x := range t {
		if p, ok := x.(reporter); ok {
			p.Progress(r, received, sent)
		}
	}
}

// Reset sets the counters of requests and connections to zero (/reset_counters).
// What other packages count goes on.
func (r *Registry) Reset() {
	workers, _ := r.all()
	for _, w := range workers {
		w.mu.Lock()
		for _, s := range w.series {
			if s.http != nil {
				for i := range s.http {
					s.http[i].reset()
				}
			}
			for i := range s.n {
				s.n[i].Store(0)
			}
		}
		for _, s := range w.http {
			for i := range s.classes {
				s.classes[i].Store(0)
			}
			s.http1.Store(0)
			s.http2.Store(0)
			s.reset.Store(0)
			s.bad.Store(0)
			s.timeout.Store(0)
			s.time.reset()
		}
		for _, s := range w.tcp {
			s.total.Store(0)
			s.received.Store(0)
			s.sent.Store(0)
		}
		w.mu.Unlock()
	}
}
