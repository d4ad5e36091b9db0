package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is everything that was found.
type report struct {
	settings *settings
	machine  string
	began    time.Time
	checks   int
	points   []*measured
	memory   [2]memory
	profiles []profiled
	plane    []planeRun
	analysis []analysisRun
}

// describeMachine is one line on what this was measured on.
func describeMachine(b *bed) string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel := "unknown"
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel, _, _ = strings.Cut(strings.TrimSpace(string(text)), "-")
	}
	return fmt.Sprintf("%d processors (%s), Linux %s, %s, Envoy %s", runtime.NumCPU(), model, kernel, runtime.Version(), b.version)
}

// versionOf finds 1.40.0 in ".../envoy  version: HASH/1.40.0/Clean/RELEASE/BoringSSL".
func versionOf(text string) string {
	_, rest, _ := strings.Cut(text, "version: ")
	if f := strings.Split(rest, "/"); len(f) > 1 {
		return f[1]
	}
	return "of unknown version"
}

func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\n<!-- Written by `make bench`; change test/bench/report.go, not this file. -->\n\n")
	fmt.Fprintf(&b, "The native proxy against a stock Envoy doing equal work. %s. %s, %d rounds of %s each, the two proxies in turn.\n\n",
		r.machine, r.began.UTC().Format("2006-01-02 15:04 MST"), r.settings.rounds, r.settings.window)
	r.summary(&b)
	r.proxyTable(&b)
	r.detailTable(&b)
	r.memoryTable(&b)
	r.planeTable(&b)
	b.WriteString(analysisSection(r.analysis))
	r.method(&b)
	r.profileText(&b)
	return b.String()
}

// summary says first what is not met.
func (r *report) summary(b *strings.Builder) {
	var met, unsure, missed []string
	for _, m := range r.points {
		if m.must == 0 {
			continue
		}
		ratios := m.ratios()
		low, _ := interval(ratios)
		switch {
		case low >= m.must:
			met = append(met, m.name)
		case median(ratios) >= m.must:
			unsure = append(unsure, m.name)
		default:
			missed = append(missed, m.name)
		}
	}
	for _, t := range r.memoryTargets() {
		if t.ours <= t.must {
			met = append(met, t.what)
		} else {
			missed = append(missed, t.what)
		}
	}
	all := len(met) + len(unsure) + len(missed)
	if all == 0 {
		return
	}
	fmt.Fprintf(b, "**%d of %d targets are met.**", len(met), all)
	if len(unsure) > 0 {
		fmt.Fprintf(b, " Met by the median, but not by the whole confidence interval: %s.", strings.Join(unsure, ", "))
	}
	if len(missed) > 0 {
		fmt.Fprintf(b, " Not met: %s.", strings.Join(missed, ", "))
	}
	b.WriteString("\n\n")
}

func (r *report) proxyTable(b *strings.Builder) {
	if len(r.points) == 0 {
		return
	}
	b.WriteString("## Processor time per request\n\nMicroseconds of processor time of the whole proxy process, kernel included; the ratio is Envoy's over ours, the median of the rounds, with its 95 % confidence interval.\n\n")
	b.WriteString("| Point | Workload | Native | Envoy | Ratio | 95 % | Must | Stretch | Met |\n|---|---|--:|--:|--:|--:|--:|--:|---|\n")
	us := func(s sample) float64 { return s.us }
	for _, m := range r.points {
		ratios := m.ratios()
		low, high := interval(ratios)
		must, stretch, met := "-", "-", "-"
		if m.must > 0 {
			must, stretch, met = fmt.Sprintf("%.1f", m.must), fmt.Sprintf("%.3g", m.goal), verdict(median(ratios), low, high, m.must)
		}
		fmt.Fprintf(b, "| %s | %s | %.1f | %.1f | **%.2f** | %.2f-%.2f | %s | %s | %s |\n", m.name, m.what,
			median(column(m.rounds[native], us)), median(column(m.rounds[envoy], us)), median(ratios), low, high, must, stretch, met)
	}
	b.WriteString("\n")
}

// verdict says whether a target is met, and how surely: the interval counts too.
func verdict(ratio, low, high, must float64) string {
	switch {
	case low >= must:
		return "yes"
	case ratio >= must:
		return "by the median only"
	case high >= must:
		return "no, by the median"
	default:
		return "no"
	}
}

func (r *report) detailTable(b *strings.Builder) {
	if len(r.points) == 0 {
		return
	}
	b.WriteString("Smallest value of the rounds, time outside of the kernel, voluntary context switches per request, requests per second, latency (median of the rounds):\n\n")
	b.WriteString("| Point | Least us: native / Envoy | User us | Switches | Requests/s | p50 ms | p99 ms |\n|---|--:|--:|--:|--:|--:|--:|\n")
	for _, m := range r.points {
		pair := func(format string, pick func(sample) float64, of func([]float64) float64) string {
			return fmt.Sprintf(format+" / "+format, of(column(m.rounds[native], pick)), of(column(m.rounds[envoy], pick)))
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", m.name,
			pair("%.1f", func(s sample) float64 { return s.us }, slices.Min[[]float64]),
			pair("%.1f", func(s sample) float64 { return s.user }, median),
			pair("%.2f", func(s sample) float64 { return s.switches }, median),
			pair("%.0f", func(s sample) float64 { return s.rps }, median),
			pair("%.2f", func(s sample) float64 { return s.p50.Seconds() * 1000 }, median),
			pair("%.2f", func(s sample) float64 { return s.p99.Seconds() * 1000 }, median))
	}
	b.WriteString("\n")
}

// limit is a target for memory: at most so much.
type limit struct {
	what         string
	unit         string
	ours, theirs float64
	must         float64
}

func (r *report) memoryTargets() []limit {
	n, e := r.memory[native], r.memory[envoy]
	if n.idle.Total == 0 {
		return nil
	}
	grown := func(m memory) float64 { return mibs(m.services.Total) - mibs(m.idle.Total) }
	return []limit{
		{"resident memory, idle", "MiB", mibs(n.idle.Total), mibs(e.idle.Total), 35},
		{fmt.Sprintf("growth by %d services of 5 endpoints", manyServices), "MiB", grown(n), grown(e), 8},
		{"an idle connection", "KiB", n.perConn / kib, e.perConn / kib, 3},
		{"an idle connection in mTLS", "KiB", n.perTLS / kib, e.perTLS / kib, 8},
	}
}

func (r *report) memoryTable(b *strings.Builder) {
	targets := r.memoryTargets()
	if len(targets) == 0 {
		return
	}
	fmt.Fprintf(b, "## Memory\n\nResident memory of the process (VmRSS), each figure from fresh processes. Connections: %d, each has served one request.\n\n", idleConnections)
	b.WriteString("| What | Native | Envoy | Must | Met |\n|---|--:|--:|--:|---|\n")
	for _, t := range targets {
		met := "no"
		if t.ours <= t.must {
			met = "yes"
		}
		fmt.Fprintf(b, "| %s | %.1f %s | %.1f %s | %.0f %s | %s |\n", t.what, t.ours, t.unit, t.theirs, t.unit, t.must, t.unit, met)
	}
	n, e := r.memory[native], r.memory[envoy]
	fmt.Fprintf(b, "\nOf the idle memory, private and not backed by a file: %.1f MiB / %.1f MiB. With %d services in all: %.1f MiB / %.1f MiB. After %d plain connections were closed: %.1f MiB / %.1f MiB.\n\n",
		mibs(n.idle.Anonymous), mibs(e.idle.Anonymous), manyServices, mibs(n.services.Total), mibs(e.services.Total), idleConnections, mibs(n.afterward.Total), mibs(e.afterward.Total))
}

func (r *report) planeTable(b *strings.Builder) {
	if len(r.plane) == 0 {
		return
	}
	b.WriteString("## Control plane\n\n1,000 services of 5 endpoints, delta xDS, simulated sidecars that count and acknowledge; their processor time is in the figures. A change is one VirtualService, until the last sidecar has acknowledged.\n\n")
	b.WriteString("| Sidecars | Reading the mesh, CPU s | Connecting all: CPU s | s | MB each | One change: ms | kB in all | CPU s |\n|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, p := range r.plane {
		if p.err != "" {
			fmt.Fprintf(b, "| %d | not measured: %s | | | | | | |\n", p.sidecars, strings.ReplaceAll(p.err, "|", "/"))
			continue
		}
		m := p.metrics
		fmt.Fprintf(b, "| %d | %.2f | %.2f | %.2f | %.2f | %.1f | %.1f | %.4f |\n", p.sidecars, m["load-cpu-s"], m["connect-cpu-s"], m["connect-s"],
			m["MB/sidecar"], m["ms/change"], m["kB/change"], m["cpu-s/change"])
	}
	b.WriteString("| aim at 100 | - | 1.50 | - | - | 100 | 1000 | 0.05 |\n\n")
	b.WriteString("For comparison, istiod on a machine of this kind with 100 sidecars: connecting 15 CPU s and 4.2 MB each; one change 1.9-2.8 s, 98 MB, 2.5 CPU s.\n\n")
}

func (r *report) method(b *strings.Builder) {
	var others []float64
	for _, m := range r.points {
		for _, k := range []kind{native, envoy} {
			others = append(others, column(m.rounds[k], func(s sample) float64 { return s.others })...)
		}
	}
	fmt.Fprintf(b, `## How it is measured, and how far to trust it

- Both proxies run the same bootstrap with one worker: 102 virtual hosts, grpc_stats, RBAC deny and allow, fault, CORS, router, a route timeout, generated request ids, path normalisation. Envoy keeps the statistics that Istio has it keep. No access log on either side, and no x-forwarded-for appended (use_remote_address is off, as in Istio's sidecars).
- Before anything is timed a checker sends %d exchanges through both and compares status, headers, body, trailers, and the headers that reach the backend.
- A proxy has a processor of its own; the load generator and the backend (event loops of this repository, the same for both) share another one. Processor time comes from the scheduler's clock, over all threads, read at both ends of the window. TLS is 1.3 with ECDSA P-256 certificates on both sides and no resumption.
`, r.checks)
	if len(others) > 0 {
		fmt.Fprintf(b, "- Other programs kept %.2f processors busy (median of all windows; at most %.2f).", median(others), slices.Max(others))
		if median(others) > 0.25 {
			b.WriteString(" **That is too much for a good measurement** (the method of the design asks for less than 0.5, and for 7 rounds of 5 s): the proxies run in turn, so ratios are an indication, to be confirmed on a quiet machine; absolute figures and latencies say little.")
		}
		b.WriteString("\n")
	}
	for _, m := range r.points {
		if n := m.repeated; n[native]+n[envoy] > 0 {
			fmt.Fprintf(b, "- At %s %d windows of the native proxy and %d of Envoy were thrown away and measured again, because requests failed or could not be sent in time; that may favour either.\n", m.name, n[native], n[envoy])
		}
	}
	b.WriteString("- With few rounds the interval is close to the range of all rounds.\n")
	b.WriteString("- At 1,000 requests a second a proxy sleeps between requests. Of the native proxy's time about a third is then the kernel's waking of others and being woken (an interrupt to the other processor; on a virtual machine each leaves it), the same microseconds for both proxies: where waking is dear, the ratio of the paced points is lower. Most of the rest are caches gone cold.\n")
	b.WriteString(`- A closed loop compares at different throughputs, and a proxy that is busier batches more: look at the paced points too. Latencies of closed loops say little; those of paced points count from when the request was due, and p99 on a machine of two processors is a direction only.
- Memory is one measurement of each figure, read three seconds after the last activity; the services come from the bootstrap file, not by xDS. Growth is a difference of small numbers and moves by megabytes from run to run. Allocations in the profiles include those of the profiler.
- In Envoy's favour: a real sidecar's Envoy also runs Istio's statistics and metadata exchange, which stock builds lack. In ours: requests repeat their headers, which suits HTTP/2's compression on both sides.
- Not judged: added p99 latency, which needs an idle machine. Not measured yet: access logs, resumed handshakes, chunked bodies, the chain of two sidecars, 10,000 idle connections under load, Envoy as its FAQ tunes it, change of configuration under load, several workers.

`)
}

func (r *report) profileText(b *strings.Builder) {
	if len(r.profiles) == 0 {
		return
	}
	b.WriteString("## Where the time goes\n\nFlat profile of the native proxy (`go tool pprof -top`). `Syscall6` and `RawSyscall6` are the kernel's share: reading, writing, waiting.\n\n")
	for _, p := range r.profiles {
		fmt.Fprintf(b, "### %s: %s\n\n%.3f allocations of %.0f bytes per request.\n\n```\n%s\n```\n\n", p.point.name, p.point.what, p.objects, p.bytes, p.top)
	}
}
