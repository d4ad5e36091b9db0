package main

import (
	"fmt"
	"strings"
)

// comparison is a table of two builds of the native proxy: medians of the rounds, and
// the other's time over ours with its confidence interval.
func comparison(points []*measured) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-14s %10s %10s %8s  %-12s %15s\n", "POINT", "US", "OTHER US", "OTHER/US", "95 %", "SWITCHES")
	for _, m := range points {
		us := func(k kind) float64 { return median(column(m.rounds[k], func(s sample) float64 { return s.us })) }
		switches := func(k kind) float64 { return median(column(m.rounds[k], func(s sample) float64 { return s.switches })) }
		low, high := interval(m.ratios())
		fmt.Fprintf(&b, "%-14s %10.1f %10.1f %8.3f  %.3f-%.3f  %7.3f %7.3f\n",
			m.name, us(native), us(envoy), median(m.ratios()), low, high, switches(native), switches(envoy))
	}
	return b.String()
}
