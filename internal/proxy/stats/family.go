package stats

import (
	"io"
	"strconv"
)

// Kind is the kind of a metric.
type Kind uint8

// Kinds.
const (
	Counter Kind = iota
	Gauge
	Histogram
	Text // a word; not in Prometheus' form
)

func (k Kind) String() string { return [...]string{"counter", "gauge", "histogram", "untyped"}[k] }

// Family is a metric with all its points.
type Family struct {
	Name   string // Prometheus; "": not shown there
	Suffix string // what Envoy's dotted names end with; "": not shown there
	Kind   Kind
	Points []Point
}

// Point is one value.
type Point struct {
	Prefix string // Envoy's dotted name is Prefix + "." + Suffix
	Labels string // Prometheus labels without braces
	Value  int64
	Text   string
	Hist   *counts
}

// Source gives metrics that others count.
type Source interface {
	// Families calls yield for each family; used leaves out what was never used.
	Families(used bool, yield func(*Family))
}

// SourceFunc is a function as Source.
type SourceFunc func(used bool, yield func(*Family))

// Families implements Source.
func (f SourceFunc) Families(used bool, yield func(*Family)) { f(used, yield) }

// buffer writes text in pieces.
type buffer struct {
	w   io.Writer
	b   []byte
	err error
}

const piece = 64 << 10

func (b *buffer) family(f *Family) {
	if f.Name == "" || f.Kind == Text || len(f.Points) == 0 {
		return
	}
	b.b = append(append(append(append(append(b.b, "# TYPE "...), f.Name...), ' '), f.Kind.String()...), '\n')
	for i := range f.Points {
		p := &f.Points[i]
		if p.Hist != nil {
			b.b = appendHistogram(b.b, f.Name, p.Labels, p.Hist)
		} else {
			b.b = append(appendName(b.b, f.Name, "", p.Labels), ' ')
			b.b = append(strconv.AppendInt(b.b, p.Value, 10), '\n')
		}
		if len(b.b) >= piece {
			b.put()
		}
	}
}

func (b *buffer) put() {
	if b.err == nil && len(b.b) > 0 {
		_, b.err = b.w.Write(b.b)
	}
	b.b = b.b[:0]
}

func (b *buffer) flush() error {
	b.put()
	return b.err
}
