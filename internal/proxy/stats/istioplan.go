package stats

import (
	"fmt"
	"slices"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/format"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// metric is one of Istio's standard metrics.
type metric uint8

const (
	requestsTotal metric = iota
	requestDuration
	requestBytes
	responseBytes
	requestMessages
	responseMessages
	tcpSent
	tcpReceived
	tcpOpened
	tcpClosed
	numMetrics
)

// metricNames without the prefix istio_, as in the configuration.
var metricNames = [numMetrics]string{
	"requests_total", "request_duration_milliseconds", "request_bytes", "response_bytes", "request_messages_total",
	"response_messages_total", "tcp_sent_bytes_total", "tcp_received_bytes_total", "tcp_connections_opened_total",
	"tcp_connections_closed_total",
}

func (m metric) tcp() bool { return m >= tcpSent }

func (m metric) histogram() bool {
	return m == requestDuration || m == requestBytes || m == responseBytes
}

// Plan is the configuration of Istio's metrics made ready.
type Plan struct {
	cfg     *snapshot.IstioStats
	dropped [numMetrics]bool
	removed [numMetrics][numDimensions]bool
	dims    []planDimension
	// same: all metrics have the same labels.
	same bool
}

// planDimension is a label with a value of its own.
type planDimension struct {
	name    string
	std     dimension // numDimensions: not a standard label
	expr    *snapshot.Expr
	metrics [numMetrics]bool
}

// NewPlan checks a configuration. What is not supported is named.
func NewPlan(cfg *snapshot.IstioStats) (*Plan, error) {
	p := &Plan{cfg: cfg, same: true}
	if len(cfg.Definitions) > 0 {
		return nil, fmt.Errorf("istio stats: metric definition %q: own metrics are not supported", cfg.Definitions[0].Name)
	}
	if cfg.StatPrefix != "" && cfg.StatPrefix != "istio" {
		return nil, fmt.Errorf("istio stats: stat prefix %q is not supported, only istio", cfg.StatPrefix)
	}
	for i := range cfg.Metrics {
		if err := p.override(&cfg.Metrics[i]); err != nil {
			return nil, fmt.Errorf("istio stats: metrics[%d]: %w", i, err)
		}
	}
	return p, nil
}

func (p *Plan) override(o *snapshot.MetricOverride) error {
	var on [numMetrics]bool
	for m := range numMetrics {
		on[m] = o.Name == "" || o.Name == metricNames[m]
	}
	if !slices.Contains(on[:], true) {
		return fmt.Errorf("metric %q is not known", o.Name)
	}
	for m, yes := range on {
		p.dropped[m] = p.dropped[m] || yes && o.Drop
	}
	for _, name := range o.Remove {
		d := slices.Index(dimensionNames[:], name)
		if d < 0 {
			continue // a label that is not there needs no removal
		}
		for m, yes := range on {
			p.removed[m][d] = p.removed[m][d] || yes
		}
		p.same = p.same && o.Name == ""
	}
	for _, d := range o.Dimensions {
		if d.Value == nil || !validLabel(d.Name) {
			return fmt.Errorf("dimension %q is not a label with a value", d.Name)
		}
		std := numDimensions
		if i := slices.Index(dimensionNames[:], d.Name); i >= 0 {
			std = dimension(i)
		}
		p.dims = append(p.dims, planDimension{name: d.Name, std: std, expr: d.Value, metrics: on})
		p.same = p.same && o.Name == ""
	}
	return nil
}

// validLabel follows the Prometheus data model.
func validLabel(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

const (
	// extraSep stands between the values of dimensions in a key: it is not in
	// text (UTF-8 never has this byte).
	extraSep = 0xff
	maxExtra = 512 // bytes of one value
)

// extra evaluates the configured dimensions for r.
func (p *Plan) extra(dst []byte, r *flow.Record) []byte {
	src := format.Attributes(r)
	for i := range p.dims {
		n := len(dst)
		var ok bool
		if dst, ok = p.dims[i].expr.Append(dst, src); !ok {
			dst = append(dst[:n], unknown...)
		}
		if len(dst)-n > maxExtra {
			dst = dst[:n+maxExtra]
		}
		for j := n; j < len(dst); j++ {
			if dst[j] >= 0x80 || dst[j] < 0x20 {
				dst[j] = '?' // stays one value and valid text whatever it was
			}
		}
		dst = append(dst, extraSep)
	}
	return dst
}

// text writes the labels of a metric. extra are the values of dims, "" for none.
func (p *Plan) text(dst []byte, m metric, v *values, extra []string) []byte {
	own := *v
	for i := range p.dims {
		if d := &p.dims[i]; d.metrics[m] && d.std < numDimensions {
			own[d.std] = extra[i]
		}
	}
	for d := range numDimensions {
		if p.removed[m][d] || m.tcp() && d.httpOnly() {
			continue
		}
		dst = appendLabel(dst, dimensionNames[d], own[d])
	}
	for i := range p.dims {
		d := &p.dims[i]
		if !d.metrics[m] || d.std < numDimensions || p.overridden(i, m) {
			continue
		}
		dst = appendLabel(dst, d.name, extra[i])
	}
	return dst
}

// overridden reports whether a later dimension of the same name takes the place of number i.
func (p *Plan) overridden(i int, m metric) bool {
	for j := i + 1; j < len(p.dims); j++ {
		if p.dims[j].name == p.dims[i].name && p.dims[j].metrics[m] {
			return true
		}
	}
	return false
}
