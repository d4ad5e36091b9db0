package stats

import (
	"strconv"
	"sync/atomic"
)

// Envoy's default buckets, for durations in milliseconds and for sizes alike,
// in thousandths.
var bounds = [...]uint64{
	500, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
	30_000_000, 60_000_000, 300_000_000, 600_000_000, 1_800_000_000, 3_600_000_000,
}

// boundNames are the bounds as Prometheus' label le.
var boundNames = [...]string{
	"0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
	"30000", "60000", "300000", "600000", "1.8e+06", "3.6e+06",
}

// histogram counts values in thousandths of a unit. One writer, any readers.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Uint64
}

func (h *histogram) observe(thousandths uint64) {
	i := 0
	for i < len(bounds) && thousandths > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(thousandths)
}

// counts are a histogram's values at one time, and sums of them.
type counts struct {
	buckets [len(bounds) + 1]uint64
	sum     uint64
}

func (c *counts) add(h *histogram) {
	for i := range h.buckets {
		c.buckets[i] += h.buckets[i].Load()
	}
	c.sum += h.sum.Load()
}

func (c *counts) count() uint64 {
	var n uint64
	for _, b := range c.buckets {
		n += b
	}
	return n
}

func (h *histogram) count() uint64 {
	var n uint64
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}

// appendThousandths writes v/1000.
func appendThousandths(dst []byte, v uint64) []byte {
	dst = strconv.AppendUint(dst, v/1000, 10)
	if f := v % 1000; f != 0 {
		dst = append(dst, '.', '0'+byte(f/100), '0'+byte(f/10%10), '0'+byte(f%10))
	}
	return dst
}

// appendHistogram writes the lines of one histogram; labels without braces.
func appendHistogram(dst []byte, name, labels string, c *counts) []byte {
	var n uint64
	for i := range c.buckets {
		n += c.buckets[i]
		le := "+Inf"
		if i < len(boundNames) {
			le = boundNames[i]
		}
		dst = append(append(append(dst, name...), "_bucket{"...), labels...)
		if labels != "" {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `le="`...), le...), `"} `...)
		dst = append(strconv.AppendUint(dst, n, 10), '\n')
	}
	dst = append(appendName(dst, name, "_sum", labels), ' ')
	dst = append(appendThousandths(dst, c.sum), '\n')
	dst = append(appendName(dst, name, "_count", labels), ' ')
	return append(strconv.AppendUint(dst, n, 10), '\n')
}

func appendName(dst []byte, name, suffix, labels string) []byte {
	dst = append(append(dst, name...), suffix...)
	if labels == "" {
		return dst
	}
	return append(append(append(dst, '{'), labels...), '}')
}

// appendLabel writes ,name="value" (Prometheus text format 0.0.4), without the
// comma at the beginning.
func appendLabel(dst []byte, name, value string) []byte {
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	dst = append(append(dst, name...), '=', '"')
	for i := range len(value) {
		switch c := value[i]; c {
		case '\\', '"':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func (h *histogram) reset() {
	for i := range h.buckets {
		h.buckets[i].Store(0)
	}
	h.sum.Store(0)
}
