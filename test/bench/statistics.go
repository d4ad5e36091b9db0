package main

import (
	"math/rand/v2"
	"slices"
)

// median of values; 0 without any.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}

// interval is the 95 % confidence interval of the median, by bootstrap: the median
// of many samples drawn, with repetition, from the values.
func interval(values []float64) (low, high float64) {
	if len(values) == 0 {
		return 0, 0
	}
	const draws = 2000
	r := rand.New(rand.NewPCG(1, 2)) // the same for the same values
	medians := make([]float64, draws)
	drawn := make([]float64, len(values))
	for i := range medians {
		for j := range drawn {
			drawn[j] = values[r.IntN(len(values))]
		}
		medians[i] = median(drawn)
	}
	slices.Sort(medians)
	return medians[draws*25/1000], medians[draws*975/1000-1]
}

// column picks one figure of each sample.
func column(samples []sample, pick func(sample) float64) []float64 {
	out := make([]float64, len(samples))
	for i, s := range samples {
		out[i] = pick(s)
	}
	return out
}

// ratios are Envoy's time over ours, round by round.
func (m *measured) ratios() []float64 {
	out := make([]float64, 0, len(m.rounds[native]))
	for i, n := range m.rounds[native] {
		out = append(out, m.rounds[envoy][i].us/n.us)
	}
	return out
}
